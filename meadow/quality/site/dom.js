// Elements without markup strings: text goes in as text, whatever it holds.

const SVG = 'http://www.w3.org/2000/svg'

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value)
    else element.setAttribute(name, value === true ? '' : String(value))
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue
    element.append(child instanceof Node ? child : document.createTextNode(String(child)))
  }
  return element
}

/** An HTML element. */
export function el(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children)
}

/** An SVG element. */
export function svg(name, attributes, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children)
}

const grouped = new Intl.NumberFormat('en')
export const count = (value) => grouped.format(value)
export const percent = (share) => {
  const value = share * 100
  if (value === 0) return '0 %'
  if (value < 0.1) return '< 0.1 %'
  if (value > 99 && value < 100) return `${Math.floor(value * 10) / 10} %` // never rounded up to all
  return `${value.toFixed(value < 10 ? 1 : 0)} %`
}

/** Characters as Python and polars count them: code points, not UTF-16 units. */
export const characters = (text) =>
  text.length - (text.match(/[\ud800-\udbff][\udc00-\udfff]/g)?.length ?? 0)

/** Bytes for people. */
export function size(bytes) {
  if (bytes < 1e3) return `${bytes} B`
  if (bytes < 1e6) return `${Math.round(bytes / 1e3)} kB`
  if (bytes < 1e9) return `${(bytes / 1e6).toFixed(1)} MB`
  return `${(bytes / 1e9).toFixed(2)} GB`
}

/** A name with underscores as words. */
export const words = (name) => String(name).replaceAll('_', ' ')

/** A link only where the address is plain http(s); other text stays text. */
export function link(address, label = address) {
  let url = null
  try {
    url = new URL(address)
  } catch {
    return el('span', {}, label)
  }
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return el('span', {}, label)
  return el('a', { href: url.href, target: '_blank', rel: 'noopener noreferrer nofollow' }, label)
}

/** Text as nodes, with every occurrence of a term marked. */
export function marked(text, terms) {
  if (!terms.length) return [text]
  const pattern = new RegExp(`(${terms.map((t) => t.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('|')})`, 'giu')
  return text.split(pattern).map((part, index) => (index % 2 ? el('mark', {}, part) : part))
}

/** The terms of a search: words, and phrases in quotation marks. */
export function searchTerms(query) {
  return [...query.matchAll(/"([^"]+)"|(\S+)/g)]
    .map((match) => (match[1] ?? match[2]).replaceAll('"', '').trim())
    .filter(Boolean)
}
