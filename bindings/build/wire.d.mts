/** What the files that follow from `assembly/wire.json` have to be, by path from the root. */
export function wireFiles(): Record<string, string>
