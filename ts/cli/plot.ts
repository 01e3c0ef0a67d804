/** Draws a trace: plain SVG, readable on light and dark ground. */
import type { Point, QlogSeries } from './qlog-series.ts'

const WIDTH = 960
const PANEL_HEIGHT = 150
const LEFT = 70
const RIGHT = 16
const TOP = 64
const GAP = 44
const TICKS = 4
/** More points than pixels only make the file large. */
const POINTS_MAX = 2_000

interface Line {
  readonly label: string
  /** Class of the style sheet: a colour in either scheme. */
  readonly color: 'a' | 'b' | 'c'
  readonly points: readonly Point[]
  readonly isBars?: boolean
}

interface Panel {
  readonly title: string
  readonly lines: readonly Line[]
}

const STYLE = `
  .ground { fill: #ffffff }
  text { font: 12px system-ui, sans-serif; fill: #1f2328 }
  .title { font-weight: 600 }
  .faint { fill: #59636e }
  .grid { stroke: #d1d9e0; stroke-width: 1 }
  .line { fill: none; stroke-width: 1.5; stroke-linejoin: round }
  .a { stroke: #0969da } .b { stroke: #bc4c00 } .c { stroke: #1a7f37 }
  .state { stroke: #8250df; stroke-dasharray: 2 3 }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117 }
    text { fill: #e6edf3 }
    .faint { fill: #9198a1 }
    .grid { stroke: #3d444d }
    .a { stroke: #4493f8 } .b { stroke: #f0883e } .c { stroke: #3fb950 }
    .state { stroke: #ab7df8 }
  }
`

/** Renders window, rate, round trip, queue and losses over time, one panel each. */
export function plot(series: QlogSeries): string {
  const panels: readonly Panel[] = [
    {
      title: 'bytes',
      lines: [
        { label: 'congestion window', color: 'a', points: series.window },
        { label: 'in flight', color: 'b', points: series.inFlight },
      ],
    },
    {
      title: 'bits per second',
      lines: [
        { label: 'pacing', color: 'c', points: series.paced },
        { label: 'sent', color: 'b', points: series.sent },
        { label: 'acknowledged', color: 'a', points: series.delivered },
      ],
    },
    {
      title: 'round trip, ms',
      lines: [
        { label: 'latest', color: 'b', points: series.rttLatest },
        { label: 'smoothed', color: 'a', points: series.rttSmoothed },
      ],
    },
    {
      title: 'queue, ms',
      lines: [{ label: 'latest round trip above the least', color: 'a', points: series.queue }],
    },
    {
      title: 'packets lost',
      lines: [{ label: 'per interval', color: 'b', points: series.lost, isBars: true }],
    },
  ]
  const height = TOP + panels.length * (PANEL_HEIGHT + GAP)
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" ` +
      `width="${WIDTH}" height="${height}" role="img">`,
    `<style>${STYLE}</style>`,
    `<rect class="ground" width="${WIDTH}" height="${height}"/>`,
    text(LEFT, 22, `connection ${series.id}, ${series.side}`, 'title'),
    ...drawStates(series, height),
    ...panels.flatMap((panel, index) =>
      drawPanel(panel, TOP + index * (PANEL_HEIGHT + GAP), series.seconds),
    ),
    '</svg>\n',
  ].join('\n')
}

function drawPanel({ title, lines }: Panel, top: number, seconds: number): string[] {
  const most = roundUp(Math.max(1e-9, ...lines.flatMap(({ points }) => points.map(heightOf))))
  const bottom = top + PANEL_HEIGHT
  const x = (at: number) => LEFT + (at / Math.max(seconds, 1e-9)) * (WIDTH - LEFT - RIGHT)
  const y = (value: number) => bottom - (value / most) * PANEL_HEIGHT
  const drawn: string[] = []
  for (let tick = 0; tick <= TICKS; tick++) {
    const value = (most * tick) / TICKS
    drawn.push(
      `<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${fix(y(value))}" y2="${fix(y(value))}"/>`,
      text(LEFT - 6, y(value) + 4, short(value), 'faint', 'end'),
      text(
        x((seconds * tick) / TICKS),
        bottom + 15,
        `${short((seconds * tick) / TICKS)} s`,
        'faint',
        tick === TICKS ? 'end' : 'start',
      ),
    )
  }
  drawn.push(text(LEFT, top - 8, title, 'title'))
  let legend = LEFT + 130
  for (const line of lines) {
    drawn.push(
      `<path class="line ${line.color}" d="M${legend} ${top - 12}h18"/>`,
      text(legend + 24, top - 8, line.label),
      `<path class="line ${line.color}" d="${pathOf(line, x, y)}"/>`,
    )
    legend += 44 + line.label.length * 7
  }
  return drawn
}

/** What congestion control was doing, across all panels. */
function drawStates({ states, seconds }: QlogSeries, height: number): string[] {
  let free = 0
  return states.flatMap(({ seconds: at, name }) => {
    const x = LEFT + (at / Math.max(seconds, 1e-9)) * (WIDTH - LEFT - RIGHT)
    const line = `<line class="state" x1="${fix(x)}" x2="${fix(x)}" y1="44" y2="${height - GAP}"/>`
    if (x < free) return [line]
    free = x + name.length * 7 + 12
    return [line, text(x + 3, 42, name.replaceAll('_', ' '), 'faint')]
  })
}

function pathOf({ points, isBars }: Line, x: (at: number) => number, y: (value: number) => number) {
  if (isBars) {
    return points
      .filter(({ value }) => value > 0)
      .map(({ seconds, value }) => `M${fix(x(seconds))} ${fix(y(0))}V${fix(y(value))}`)
      .join('')
  }
  return thin(points)
    .map(({ seconds, value }, index) => {
      return `${index === 0 ? 'M' : 'L'}${fix(x(seconds))} ${fix(y(value))}`
    })
    .join('')
}

/** Keeps of each group of points the least and the largest, so that no peak is lost. */
function thin(points: readonly Point[]): readonly Point[] {
  const size = Math.ceil((points.length / POINTS_MAX) * 2)
  if (size <= 2) return points
  const kept: Point[] = []
  for (let from = 0; from < points.length; from += size) {
    const group = points.slice(from, from + size)
    const least = group.reduce((a, b) => (b.value < a.value ? b : a))
    const most = group.reduce((a, b) => (b.value > a.value ? b : a))
    kept.push(...(least.seconds <= most.seconds ? [least, most] : [most, least]))
  }
  return kept
}

function heightOf({ value }: Point): number {
  return value
}

/** The next of 1, 2, 4, 5, 8, 10 times a power of ten. */
function roundUp(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value))
  return ([1, 2, 4, 5, 8, 10].find((step) => step * power >= value) ?? 10) * power
}

function short(value: number): string {
  if (value >= 1e6) return `${Number((value / 1e6).toPrecision(3))}M`
  if (value >= 1e3) return `${Number((value / 1e3).toPrecision(3))}k`
  return String(Number(value.toPrecision(3)))
}

function fix(value: number): string {
  return String(Number(value.toFixed(1)))
}

function text(x: number, y: number, content: string, kind = '', anchor = 'start'): string {
  const escaped = content.replace(/[&<>]/g, (character) => `&#${character.charCodeAt(0)};`)
  return `<text x="${fix(x)}" y="${fix(y)}" class="${kind}" text-anchor="${anchor}">${escaped}</text>`
}
