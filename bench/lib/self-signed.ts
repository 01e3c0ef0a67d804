import { generateKeyPairSync, randomBytes, sign } from 'node:crypto'

/**
 * Makes a key and a certificate for an IPv4 address that signs itself, valid for a day, both as PEM.
 * Node has no X.509 writer, and no external tool is needed for these few fields (RFC 5280 §4.1).
 */
export function makeSelfSigned(
  host: string,
  nowMs = Date.now(),
): { key: string; certificate: string } {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const ecdsaWithSha256 = sequence(objectId([1, 2, 840, 10045, 4, 3, 2]))
  const commonName = sequence(objectId([2, 5, 4, 3]), der(0x0c, Buffer.from('benchmark')))
  const name = sequence(der(0x31, commonName))
  const serial = randomBytes(16)
  // A positive number without a leading zero octet.
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40
  const subjectAltName = sequence(
    objectId([2, 5, 29, 17]),
    der(0x04, sequence(der(0x87, Buffer.from(host.split('.').map(Number))))),
  )
  const toBeSigned = sequence(
    // Version 3.
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, serial),
    ecdsaWithSha256,
    name,
    sequence(utcTime(nowMs - 60_000), utcTime(nowMs + 86_400_000)),
    name,
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, sequence(subjectAltName)),
  )
  const signature = sign('sha256', toBeSigned, privateKey)
  // A bit string says first how many bits of its last octet are unused.
  const bits = der(0x03, Buffer.concat([Buffer.from([0]), signature]))
  const lines = sequence(toBeSigned, ecdsaWithSha256, bits)
    .toString('base64')
    .replace(/.{1,64}/g, '$&\n')
  return {
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    certificate: `-----BEGIN CERTIFICATE-----\n${lines}-----END CERTIFICATE-----\n`,
  }
}

/** Encodes one DER element. */
function der(tag: number, content: Buffer): Buffer {
  const size = content.length
  if (size < 0x80) return Buffer.concat([Buffer.from([tag, size]), content])
  if (size < 0x100) return Buffer.concat([Buffer.from([tag, 0x81, size]), content])
  return Buffer.concat([Buffer.from([tag, 0x82, size >> 8, size & 0xff]), content])
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return der(0x30, Buffer.concat(parts))
}

function objectId([first = 0, second = 0, ...others]: readonly number[]): Buffer {
  const octets = [first * 40 + second]
  for (const arc of others) {
    // Base 128, the most significant group first, all but the last marked.
    const groups = [arc & 0x7f]
    for (let rest = arc >>> 7; rest > 0; rest >>>= 7) groups.unshift((rest & 0x7f) | 0x80)
    octets.push(...groups)
  }
  return der(0x06, Buffer.from(octets))
}

function utcTime(timeMs: number): Buffer {
  const digits = new Date(timeMs).toISOString().replace(/[-:T]/g, '').slice(2, 14)
  return der(0x17, Buffer.from(`${digits}Z`))
}
