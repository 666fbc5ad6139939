/** The protocol definition as data: reads the XML, resolves domains to types, and gives names the shape they have in code. */

/** The elementary types of AMQP 0-9-1 section 4.2.1. */
export type FieldType = 'bit' | 'octet' | 'short' | 'long' | 'longlong' | 'shortstr' | 'longstr' | 'timestamp' | 'table'

export interface Field {
  /** As in the definition: `routing-key`. */
  readonly name: string
  readonly type: FieldType
  /** Travels, always zero or empty, and means nothing. */
  readonly reserved: boolean
}

export interface Method {
  readonly className: string
  readonly name: string
  readonly classId: number
  readonly methodId: number
  readonly hasContent: boolean
  /** The names of the methods that answer it; empty where nothing does. */
  readonly responses: readonly string[]
  /** Whether a client may receive it. */
  readonly forClient: boolean
  readonly fields: readonly Field[]
}

interface Constant {
  readonly name: string
  readonly value: number
  readonly class: 'soft-error' | 'hard-error' | undefined
}

export interface Definition {
  readonly major: number
  readonly minor: number
  readonly revision: number
  readonly port: number
  readonly constants: readonly Constant[]
  readonly methods: readonly Method[]
  /** The content properties of class basic, in the order of their flags. */
  readonly properties: readonly Field[]
}

interface Element {
  readonly name: string
  readonly attributes: Readonly<Record<string, string>>
  readonly children: Element[]
}

const elementaryTypes = new Set<string>([
  'bit',
  'octet',
  'short',
  'long',
  'longlong',
  'shortstr',
  'longstr',
  'timestamp',
  'table',
])

export function parseDefinition(xml: string): Definition {
  const amqp = parseElements(xml).find(element => element.name === 'amqp')
  if (amqp === undefined) throw new Error('The definition has no element <amqp>.')
  const domains = new Map(childrenOf(amqp, 'domain').map(domain => [need(domain, 'name'), need(domain, 'type')]))
  const classes = childrenOf(amqp, 'class')
  const basic = classes.find(element => element.attributes.name === 'basic')
  if (basic === undefined) throw new Error('The definition has no class basic.')
  return {
    major: Number(need(amqp, 'major')),
    minor: Number(need(amqp, 'minor')),
    revision: Number(need(amqp, 'revision')),
    port: Number(need(amqp, 'port')),
    constants: childrenOf(amqp, 'constant').map(readConstant),
    methods: classes.flatMap(element =>
      childrenOf(element, 'method').map(method => readMethod(element, method, domains)),
    ),
    properties: childrenOf(basic, 'field').map(field => readField(field, domains)),
  }
}

/** Elements and attributes are all there is in the definition: no text, no entities. */
function parseElements(xml: string): Element[] {
  const roots: Element[] = []
  const open: Element[] = []
  const withoutComments = xml.replace(/<!--[\s\S]*?-->|<\?[\s\S]*?\?>/g, '')
  for (const [, closing, name, attributes, empty] of withoutComments.matchAll(
    /<(\/?)([\w-]+)((?:\s+[\w-]+\s*=\s*"[^"]*")*)\s*(\/?)>/g,
  )) {
    if (closing === '/') {
      if (open.pop()?.name !== name) throw new Error(`The definition closes <${name}> where it is not open.`)
      continue
    }
    const element: Element = { name: name!, attributes: parseAttributes(attributes!), children: [] }
    const siblings = open.at(-1)?.children ?? roots
    siblings.push(element)
    if (empty !== '/') open.push(element)
  }
  return roots
}

function parseAttributes(source: string): Record<string, string> {
  return Object.fromEntries([...source.matchAll(/([\w-]+)\s*=\s*"([^"]*)"/g)].map(([, name, value]) => [name!, value!]))
}

function childrenOf(element: Element, name: string): Element[] {
  return element.children.filter(child => child.name === name)
}

function need(element: Element, attribute: string): string {
  const value = element.attributes[attribute]
  if (value === undefined) throw new Error(`The definition has a <${element.name}> without ${attribute}.`)
  return value
}

function readConstant(element: Element): Constant {
  const errorClass = element.attributes.class
  return {
    name: need(element, 'name'),
    value: Number(need(element, 'value')),
    class: errorClass === 'soft-error' || errorClass === 'hard-error' ? errorClass : undefined,
  }
}

function readMethod(owner: Element, element: Element, domains: ReadonlyMap<string, string>): Method {
  return {
    className: need(owner, 'name'),
    name: need(element, 'name'),
    classId: Number(need(owner, 'index')),
    methodId: Number(need(element, 'index')),
    hasContent: element.attributes.content === '1',
    responses: childrenOf(element, 'response').map(response => need(response, 'name')),
    // class confirm names no side for its select, which goes to the server.
    forClient: childrenOf(element, 'chassis').some(chassis => chassis.attributes.name === 'client'),
    fields: childrenOf(element, 'field').map(field => readField(field, domains)),
  }
}

function readField(element: Element, domains: ReadonlyMap<string, string>): Field {
  const name = need(element, 'name')
  const type = element.attributes.type ?? domains.get(need(element, 'domain'))
  if (type === undefined || !elementaryTypes.has(type)) throw new Error(`The field ${name} has no known type.`)
  return { name, type: type as FieldType, reserved: element.attributes.reserved === '1' }
}

/** `no-wait` -> `noWait`. The definition once writes `nowait`. */
export function camelCase(name: string): string {
  return name === 'nowait' ? 'noWait' : name.replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())
}

/** `start-ok` -> `StartOk`. */
export function pascalCase(name: string): string {
  const camel = camelCase(name)
  return camel.charAt(0).toUpperCase() + camel.slice(1)
}

/** `start-ok` -> `START_OK`. */
export function upperCase(name: string): string {
  return name.replaceAll('-', '_').toUpperCase()
}

export const banner = '// Generated by packages/amqp/generate/main.ts; see ORIGIN.md. Do not edit.\n'
