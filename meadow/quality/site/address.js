// The state of the page as the part of its address after "#", so that every view can be linked.

const NUMBERS = new Set(['row', 'min', 'max', 'page'])
const NAMES = [
  'losses', 'page', 'reason', 'source', 'split', 'row', 'id', 'q', 'task', 'license', 'origin', 'subset', 'flag',
  'rewritten', 'contamination', 'min', 'max', 'order', 'template',
]
export const FILTERS = ['q', 'task', 'license', 'origin', 'subset', 'flag', 'rewritten', 'contamination', 'min', 'max']

/** "#source=wikidoc&row=123" -> { view: "browse", source: "wikidoc", row: 123 }. */
export function parseAddress(hash) {
  const text = hash.replace(/^#/, '')
  if (text === '' || text === 'overview') return { view: 'overview' }
  const state = { view: /^losses\b/.test(text) ? 'losses' : 'browse' }
  for (const [name, value] of new URLSearchParams(text)) {
    if (!NAMES.includes(name) || value === '') continue
    if (!NUMBERS.has(name)) state[name] = value
    else if (/^\d{1,12}$/.test(value)) state[name] = Number(value)
  }
  return state
}

/** The other way round. */
export function formatAddress(state) {
  if (state.view === 'overview') return '#overview'
  if (state.view === 'losses') state = { ...state, losses: state.losses ?? 'all' }
  const parameters = new URLSearchParams()
  for (const name of NAMES) {
    const value = state[name]
    if (value !== undefined && value !== null && value !== '') parameters.set(name, String(value))
  }
  return `#${parameters.toString() || 'browse'}`
}
