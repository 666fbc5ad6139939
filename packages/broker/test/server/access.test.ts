import { encodeTable } from '@chasqui/amqp'
import { expect, test } from 'vitest'
import { isLoopback, logIn, mechanismsFor } from '../../src/server/access.ts'
import { refused } from '../engine.ts'

const good = '\0guest\0guest'
const here = { fromHere: true }

test('lets guest in from this machine, with PLAIN and with AMQPLAIN', () => {
  expect(logIn('PLAIN', good, here)).toBe('guest')
  const table = encodeTable({ LOGIN: 'guest', PASSWORD: 'guest' })
  expect(logIn('AMQPLAIN', table.subarray(4), here)).toBe('guest')
})

test.each([
  ['a wrong password', 'PLAIN', '\0guest\0other', true],
  ['an unknown user', 'PLAIN', '\0somebody\0guest', true],
  ['guest from another machine', 'PLAIN', good, false],
  ['no user at all', 'PLAIN', '', true],
  ['an answer with one part too many', 'PLAIN', '\0guest\0guest\0', true],
  ['AMQPLAIN with a broken table', 'AMQPLAIN', '\u00ff\u0000\u0000', true],
  ['AMQPLAIN without a password', 'AMQPLAIN', encodeTable({ LOGIN: 'guest' }).subarray(4), true],
  ['AMQPLAIN with a number for a password', 'AMQPLAIN', encodeTable({ LOGIN: 'guest', PASSWORD: 1 }).subarray(4), true],
])('refuses %s and does not say which part was wrong', (_what, mechanism, response, fromHere) => {
  refused(
    () => logIn(mechanism, response, { fromHere }),
    403,
    /^ACCESS_REFUSED - Login was refused using authentication mechanism/,
    'connection',
  )
})

test('refuses a mechanism that it did not offer, and names those that it did', () => {
  refused(() => logIn('EXTERNAL', '', here), 403, /use PLAIN or AMQPLAIN/, 'connection')
})

test.each([
  ['guest on this machine', { ...here, commonName: 'guest' }, 'guest'],
  [
    'somebody that the listener names',
    { fromHere: false, commonName: 'billing', certificateUsers: ['a', 'billing'] },
    'billing',
  ],
])('[EXTERNAL] lets in %s, whatever else it says', (_who, peer, user) => {
  expect(mechanismsFor(peer)).toEqual(['EXTERNAL', 'PLAIN', 'AMQPLAIN'])
  expect(logIn('EXTERNAL', 'somebody else', peer)).toBe(user)
})

test.each([
  ['guest on another machine', { fromHere: false, commonName: 'guest', certificateUsers: ['guest'] }],
  ['somebody that nobody named', { ...here, commonName: 'billing', certificateUsers: ['Billing'] }],
  ['somebody where nobody is named', { ...here, commonName: 'billing' }],
])('[EXTERNAL] refuses %s', (_who, peer) => {
  refused(
    () => logIn('EXTERNAL', '', peer),
    403,
    /using authentication mechanism EXTERNAL\. The common name/,
    'connection',
  )
})

test.each([
  ['127.0.0.1', true],
  ['127.8.8.8', true],
  ['::1', true],
  ['::ffff:127.0.0.1', true],
  ['192.168.0.1', false],
  ['::ffff:192.168.0.1', false],
  ['127.evil.example', false],
  [undefined, false],
])('%s is loopback: %s', (address, expected) => {
  expect(isLoopback(address)).toBe(expected)
})
