/** A broker that listens, and clients of it that go with their test. */
import { connect as connectSocket, type Socket } from 'node:net'
import { type Channel, type Connection, type ConnectionOptions, connect } from '@chasqui/amqp/client'
import type { Broker, BrokerOptions } from '@chasqui/broker'
import { onTestFinished } from 'vitest'
import { startBroker } from '../engine.ts'
import { type Handshake, RawClient } from './raw-client.ts'

export interface Serving {
  readonly broker: Broker
  readonly port: number
}

/** Listens on a free port of 127.0.0.1. */
export async function serve(options: BrokerOptions = {}): Promise<Serving> {
  const broker = await startBroker({ listeners: [{ host: '127.0.0.1', port: 0 }], ...options })
  const address = broker.addresses[0]!
  if (!('port' in address)) throw new Error('the first listener has no port')
  return { broker, port: address.port }
}

/** Our own client's connection. */
export async function connected(port: number, options: ConnectionOptions = {}): Promise<Connection> {
  const connection = await connect({ host: '127.0.0.1', port, ...options })
  onTestFinished(() => connection.destroy())
  return connection
}

export async function channelTo(port: number): Promise<Channel> {
  return (await connected(port)).openChannel()
}

/** A raw client that has not said anything. */
export async function rawConnected(port: number): Promise<RawClient> {
  const client = await RawClient.connect(port)
  onTestFinished(() => client.destroy())
  return client
}

/** A raw client behind its handshake. */
export async function rawOpened(port: number, handshake: Handshake = {}): Promise<RawClient> {
  const client = await rawConnected(port)
  await client.shakeHands(handshake)
  return client
}

/** A raw client with channel 1 open. */
export async function rawChannel(port: number, handshake: Handshake = {}): Promise<RawClient> {
  const client = await rawOpened(port, handshake)
  await client.openChannel(1)
  return client
}

export async function socketTo(port: number): Promise<Socket> {
  const socket = connectSocket({ host: '127.0.0.1', port })
  onTestFinished(() => {
    socket.destroy()
  })
  socket.on('error', () => socket.destroy())
  await new Promise<void>(resolve => socket.once('connect', resolve))
  return socket
}

/** Waits until it is true, up to ten seconds. */
export async function eventually(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 10_000
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`never happened: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 5))
  }
}
