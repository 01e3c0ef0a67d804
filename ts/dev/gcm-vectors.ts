/**
 * McGrew and Viega, "The Galois/Counter Mode of Operation (GCM)", appendix B: the test cases for
 * keys of 128 bits and nonces of 96.
 */
import { hex } from './rfc8439.ts'

const KEY = hex('feffe992 8665731c 6d6a8f94 67308308')
const NONCE = hex('cafebabe facedbad decaf888')
const PLAIN = hex(`
    d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72
    1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255
  `)

export const AES_128_GCM_VECTORS = [
  {
    testCase: 1,
    key: Buffer.alloc(16),
    nonce: Buffer.alloc(12),
    header: Buffer.alloc(0),
    plain: Buffer.alloc(0),
    /** Ciphertext and tag. */
    sealed: hex('58e2fccefa7e3061367f1d57a4e7455a'),
  },
  {
    testCase: 2,
    key: Buffer.alloc(16),
    nonce: Buffer.alloc(12),
    header: Buffer.alloc(0),
    plain: Buffer.alloc(16),
    sealed: hex('0388dace60b6a392f328c2b971b2fe78 ab6e47d42cec13bdf53a67b21257bddf'),
  },
  {
    testCase: 3,
    key: KEY,
    nonce: NONCE,
    header: Buffer.alloc(0),
    plain: PLAIN,
    sealed: hex(`
      42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e
      21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091473f5985
      4d5c2af327cd64a62cf35abd2ba6fab4
    `),
  },
  {
    testCase: 4,
    key: KEY,
    nonce: NONCE,
    header: hex('feedface deadbeef feedface deadbeef abaddad2'),
    plain: PLAIN.subarray(0, 60),
    sealed: hex(`
      42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e
      21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091
      5bc94fbc3221a5db94fae95ae7121a47
    `),
  },
]
