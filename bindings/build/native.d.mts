/** Says what is missing on this machine, or an empty text when the addon can be built. */
export function missingForNative(): string
/** Builds `build/native/Release/punchline.node` unless it is up to date. */
export function buildNative(): Promise<void>
