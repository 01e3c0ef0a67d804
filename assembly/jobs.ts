/**
 * Job lists: what has to be computed over whole packets (checksums, ciphers) is written down while
 * packets are parsed or built, and done in one go, by the core or by the native tier. A job that
 * nobody has done gets done here.
 */
import { open as aeadOpen, seal as aeadSeal } from './aead'
import { crc32c, crc32cUpdate } from './crc32c'
import {
  INSTANCE,
  JOB_HEADER,
  JOB_HEADER_SIZE,
  JOB_KEY,
  JOB_NUMBER,
  JOB_OPERATION,
  JOB_PAYLOAD,
  JOB_PAYLOAD_SIZE,
  JOB_SIZE,
  JOBS,
  JOBS_MAX,
  OPERATION_CHECK_CRC,
  OPERATION_OPEN_CHACHA,
  OPERATION_SEAL_AES,
  OPERATION_SEAL_CHACHA,
  OPERATION_SEAL_CRC,
  SLOT_IV,
  SLOT_KEY,
  VERDICT_BROKEN,
  VERDICT_INTACT,
  VERDICT_NONE,
  VERDICTS,
} from './layout'
import { fill, high32, low32, type ptr, r8, r32, w8, w32 } from './prelude'
import { SHORT_PATH, TAG_SIZE } from './wire'

/** Jobs in the list. */
const COUNT: i32 = INSTANCE + 3072
/** Endpoint whose received packets the jobs are about, 0: they are about packets to send. */
const OWNER: i32 = INSTANCE + 3080
const NONCE: ptr = INSTANCE + 3088

export function jobsCount(): i32 {
  return r32(COUNT)
}

/** Begins a list: of `ep`'s received packets, or (0) of packets to send. */
export function jobsClear(ep: ptr): void {
  w32(COUNT, 0)
  w32(OWNER, ep)
}

export function jobsOwner(): ptr {
  return r32(OWNER)
}

/** Whether `count` more fit. */
export function jobsHaveRoom(count: i32): bool {
  return r32(COUNT) + count <= JOBS_MAX
}

/** Adds a job for one packet; gives its address. */
export function addJob(
  operation: i32,
  key: ptr,
  number: f64,
  header: ptr,
  headerSize: i32,
  payloadSize: i32,
): ptr {
  const index: i32 = r32(COUNT)
  const job: ptr = JOBS + index * JOB_SIZE
  w32(COUNT, index + 1)
  w8(VERDICTS + index, VERDICT_NONE)
  w32(job + JOB_OPERATION, operation)
  w32(job + JOB_KEY, key)
  w32(job + JOB_NUMBER, low32(number))
  w32(job + JOB_NUMBER + 4, high32(number))
  w32(job + JOB_HEADER, header)
  w32(job + JOB_HEADER_SIZE, headerSize)
  w32(job + JOB_PAYLOAD, header + headerSize)
  w32(job + JOB_PAYLOAD_SIZE, payloadSize)
  return job
}

/** The verdict on a job that must be in the list; does it if nobody has. */
export function verdictOf(index: i32): i32 {
  const verdict: i32 = r8(VERDICTS + index)
  if (verdict !== VERDICT_NONE) return verdict
  const own: i32 = run(JOBS + index * JOB_SIZE)
  w8(VERDICTS + index, own)
  return own
}

/** Does all that is not done, and empties the list. */
export function runJobs(): void {
  const jobs: i32 = r32(COUNT)
  for (let i: i32 = 0; i < jobs; i++) verdictOf(i)
  w32(COUNT, 0)
}

function run(job: ptr): i32 {
  const operation: i32 = r32(job + JOB_OPERATION)
  const header: ptr = r32(job + JOB_HEADER)
  const headerSize: i32 = r32(job + JOB_HEADER_SIZE)
  const payload: ptr = r32(job + JOB_PAYLOAD)
  const size: i32 = r32(job + JOB_PAYLOAD_SIZE)
  if (operation === OPERATION_SEAL_CRC) {
    w32(payload + size, crcOf(header, headerSize, payload, size))
    return VERDICT_INTACT
  }
  if (operation === OPERATION_CHECK_CRC) {
    const isIntact: bool = crcOf(header, headerSize, payload, size) === r32(payload + size)
    return isIntact ? VERDICT_INTACT : VERDICT_BROKEN
  }
  const slot: ptr = r32(job + JOB_KEY)
  makeNonce(job, slot)
  if (operation === OPERATION_SEAL_CHACHA) {
    aeadSeal(slot + SLOT_KEY, NONCE, header, headerSize, payload, size)
    return VERDICT_INTACT
  }
  if (operation === OPERATION_OPEN_CHACHA) {
    const isOpen: bool = aeadOpen(slot + SLOT_KEY, NONCE, header, headerSize, payload, size)
    return isOpen ? VERDICT_INTACT : VERDICT_BROKEN
  }
  // AES without the native tier: it went away, and the packet is lost. Nothing readable may leave.
  if (operation === OPERATION_SEAL_AES) fill(payload, size + TAG_SIZE)
  return VERDICT_BROKEN
}

/** Header and payload lie one behind the other in all packets, so that one pass is enough. */
function crcOf(header: ptr, headerSize: i32, payload: ptr, size: i32): i32 {
  if (header + headerSize === payload) return crc32c(header, headerSize + size)
  return crc32cUpdate(crc32c(header, headerSize), payload, size)
}

function makeNonce(job: ptr, slot: ptr): void {
  const header: ptr = r32(job + JOB_HEADER)
  w32(NONCE, r32(slot + SLOT_IV) ^ r8(header + SHORT_PATH))
  w32(NONCE + 4, r32(slot + SLOT_IV + 4) ^ r32(job + JOB_NUMBER))
  w32(NONCE + 8, r32(slot + SLOT_IV + 8) ^ r32(job + JOB_NUMBER + 4))
}
