/** A self-signed certificate for `localhost`, made on the spot: Node can sign but not make one. */
import { generateKeyPairSync, sign } from 'node:crypto'

export interface Certificate {
  /** PEM. */
  readonly key: string
  readonly cert: string
}

const SEQUENCE = 0x30
const SET = 0x31
const INTEGER = 0x02
const BIT_STRING = 0x03
const OCTET_STRING = 0x04
const OBJECT_ID = 0x06
const UTF8_STRING = 0x0c
const UTC_TIME = 0x17
const VERSION_TAG = 0xa0
const EXTENSIONS_TAG = 0xa3
/** SubjectAltName: [2] dNSName, [7] iPAddress (RFC 5280 §4.2.1.6). */
const DNS_NAME = 0x82
const IP_ADDRESS = 0x87

// ecdsa-with-SHA256, commonName, subjectAltName
const ECDSA_WITH_SHA256 = Buffer.from('2a8648ce3d040302', 'hex')
const COMMON_NAME = Buffer.from('550403', 'hex')
const SUBJECT_ALT_NAME = Buffer.from('551d11', 'hex')

/** One DER element: tag, length, content (ITU-T X.690 §8.1). */
function element(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts)
  const { length } = content
  if (length < 128) return Buffer.concat([Buffer.from([tag, length]), content])
  return Buffer.concat([Buffer.from([tag, 0x82, length >> 8, length & 0xff]), content])
}

function utcTime(date: Date): Buffer {
  const digits = date.toISOString().replace(/\D/g, '').slice(2, 14)
  return element(UTC_TIME, Buffer.from(`${digits}Z`))
}

/** Makes a P-256 key and a certificate for `localhost` and 127.0.0.1, valid for two days. */
export function makeCertificate(): Certificate {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const algorithm = element(SEQUENCE, element(OBJECT_ID, ECDSA_WITH_SHA256))
  const attribute = [
    element(OBJECT_ID, COMMON_NAME),
    element(UTF8_STRING, Buffer.from('localhost')),
  ]
  const name = element(SEQUENCE, element(SET, element(SEQUENCE, ...attribute)))
  const day = 24 * 60 * 60 * 1000
  const validity = element(
    SEQUENCE,
    utcTime(new Date(Date.now() - day)),
    utcTime(new Date(Date.now() + day)),
  )
  const names = element(
    SEQUENCE,
    element(DNS_NAME, Buffer.from('localhost')),
    element(IP_ADDRESS, Buffer.from([127, 0, 0, 1])),
  )
  const extension = element(
    SEQUENCE,
    element(OBJECT_ID, SUBJECT_ALT_NAME),
    element(OCTET_STRING, names),
  )
  const body = element(
    SEQUENCE,
    element(VERSION_TAG, element(INTEGER, Buffer.from([2]))),
    element(INTEGER, Buffer.from([1])),
    algorithm,
    name,
    validity,
    name,
    publicKey.export({ type: 'spki', format: 'der' }),
    element(EXTENSIONS_TAG, element(SEQUENCE, extension)),
  )
  const signature = element(BIT_STRING, Buffer.from([0]), sign('sha256', body, privateKey))
  const lines = element(SEQUENCE, body, algorithm, signature)
    .toString('base64')
    .match(/.{1,64}/g)
  return {
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    cert: ['-----BEGIN CERTIFICATE-----', ...(lines ?? []), '-----END CERTIFICATE-----', ''].join(
      '\n',
    ),
  }
}
