'use strict'
/**
 * Finds the folder of the package from the sources and from `dist/` alike. CommonJS, because only
 * there a module knows its place under either module format.
 */
const { existsSync, readFileSync } = require('node:fs')
const { dirname, join } = require('node:path')

/** `dist/` has manifests of its own, without a name. */
function isPackage(folder) {
  const manifest = join(folder, 'package.json')
  return existsSync(manifest) && JSON.parse(readFileSync(manifest, 'utf8')).name === 'punchline'
}

let folder = __dirname
while (!isPackage(folder) && dirname(folder) !== folder) folder = dirname(folder)

exports.PACKAGE_ROOT = folder
