/** Which branches of a parser were reached, as V8 counts them: built in, no rewriting of sources. */
import { Session } from 'node:inspector'

interface Range {
  readonly startOffset: number
  readonly endOffset: number
  readonly count: number
}

export interface BranchReport {
  readonly reached: number
  readonly total: number
  /** Source text around the beginnings of unreached branches. */
  readonly missed: readonly string[]
  /** Functions that were named, but are not there: a renamed one must not go unmeasured. */
  readonly unknown: readonly string[]
}

/** Counts from now on: scripts that are loaded later are counted from their first call. */
export class BranchCounter {
  private readonly session = new Session()
  private readonly scripts = new Map<string, string>()

  constructor() {
    this.session.connect()
    this.session.on('Debugger.scriptParsed', ({ params }) => {
      this.scripts.set(params.scriptId, params.url)
    })
    this.post('Debugger.enable')
    this.post('Profiler.enable')
    this.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true })
  }

  /** Branches of these functions, by source file. */
  report(parser: Readonly<Record<string, readonly string[]>>): BranchReport {
    const { result } = this.post('Profiler.takePreciseCoverage') as {
      result: { scriptId: string; url: string; functions: ScriptFunction[] }[]
    }
    let reached = 0
    let total = 0
    const missed: string[] = []
    const unknown: string[] = []
    for (const [file, names] of Object.entries(parser)) {
      const script = result.find(({ url }) => url.split('?')[0]?.endsWith(`/${file}`))
      const wanted = new Set(names)
      for (const { functionName, ranges } of script?.functions ?? []) {
        if (!names.includes(functionName)) continue
        wanted.delete(functionName)
        const source = this.source(script?.scriptId ?? '')
        total += ranges.length
        for (const { startOffset, count } of ranges) {
          if (count > 0) reached += 1
          else missed.push(`${functionName}: ${textAt(source, startOffset)}`)
        }
      }
      unknown.push(...[...wanted].map((name) => `${file}: ${name}`))
    }
    return { reached, total, missed, unknown }
  }

  /** Stops counting: what runs afterwards runs at full speed. */
  close(): void {
    this.post('Profiler.stopPreciseCoverage')
    this.session.disconnect()
  }

  private source(scriptId: string): string {
    const { scriptSource } = this.post('Debugger.getScriptSource', { scriptId }) as {
      scriptSource: string
    }
    return scriptSource
  }

  /** The session answers before the call returns. */
  private post(method: string, params: object = {}): unknown {
    let answer: unknown
    this.session.post(method, params, (error, result) => {
      if (error !== null) throw error
      answer = result
    })
    return answer
  }
}

interface ScriptFunction {
  readonly functionName: string
  readonly ranges: readonly Range[]
}

/** What stands there, and a little before it. */
function textAt(source: string, offset: number): string {
  const before = source.slice(Math.max(0, offset - 60), offset)
  return `${before} >>> ${source.slice(offset, offset + 60)}`.replace(/\s+/g, ' ')
}
