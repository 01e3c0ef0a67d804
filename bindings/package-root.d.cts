/** Absolute path of the folder that holds the package's `package.json`. */
export const PACKAGE_ROOT: string
