/**
 * Lays rows out in columns, the first row as head: the first column to the left, figures right.
 *
 * @param {string[][]} rows
 */
export function formatTable(rows) {
  const columns = rows[0]?.length ?? 0
  const widths = Array.from({ length: columns }, (_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? '').length)),
  )
  const render = (/** @type {string[]} */ row) =>
    widths
      .map((width, column) =>
        column === 0 ? (row[column] ?? '').padEnd(width) : (row[column] ?? '').padStart(width),
      )
      .join('  ')
  const rule = widths.map((width) => '-'.repeat(width)).join('  ')
  const [head = [], ...body] = rows.map(render)
  return [head, rule, ...body].join('\n')
}
