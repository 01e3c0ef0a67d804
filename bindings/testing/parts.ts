/**
 * Inner functions of the core that it does not export, as a module of their own: for published
 * vectors and for measuring. Compiled by `bindings/build/asbuild.mjs`, and runs as TypeScript too.
 */
export { chacha20, xorInto } from '../../assembly/chacha'
export { poly1305 } from '../../assembly/poly1305'
export { sipHash } from '../../assembly/siphash'
