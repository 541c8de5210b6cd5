// The page: opens the corpus, follows the address, switches between Overview and Browse.

import { formatAddress, parseAddress } from './address.js'
import { BrowseView } from './browse.js'
import { openCorpus } from './corpus.js'
import { el, size } from './dom.js'
import { overviewView } from './overview.js'
import { LossesView } from './losses.js'
import { traffic } from './ranges.js'

const find = (id) => document.getElementById(id)
const setting = (name) => document.querySelector(`meta[name="meadow-${name}"]`).content
const main = find('main')

function navigate(state, { replace = false } = {}) {
  const address = formatAddress(state)
  if (replace) history.replaceState(null, '', address)
  else history.pushState(null, '', address)
  show()
}

let corpus = null
let browse = null
let overview = null
let losses = null
const title = document.title

async function show() {
  if (corpus === null) return
  const state = parseAddress(location.hash)
  for (const name of ['overview', 'browse', 'losses']) {
    if (state.view === name) find(`tab-${name}`).setAttribute('aria-current', 'page')
    else find(`tab-${name}`).removeAttribute('aria-current')
  }
  document.body.dataset.view = state.view
  document.title = `${{ overview: 'Overview', browse: 'Rows', losses: 'Losses' }[state.view]} · ${title}`
  if (state.view === 'losses') {
    losses ??= new LossesView({ corpus, navigate, rowAddress: setting('search') && new URL('row', new URL(setting('search'), document.baseURI)) })
    if (main.firstChild !== losses.root) main.replaceChildren(losses.root)
    losses.show(state)
    return
  }
  if (state.view === 'overview') {
    if (overview === null) {
      main.replaceChildren(el('p', { class: 'loading' }, 'Reading the report …'))
      overview = overviewView(corpus, await corpus.report())
      if (parseAddress(location.hash).view !== 'overview') return
    }
    if (main.firstChild !== overview) main.replaceChildren(overview)
    return
  }
  if (browse === null) {
    // Licence names come from the report; the rows do not wait for it.
    const licenses = new Map()
    corpus.report().then((report) => {
      for (const license of report?.licenses ?? []) licenses.set(license.key, license)
    })
    browse = new BrowseView({ corpus, licenses, navigate, searchAddress: setting('search'), title })
  }
  if (main.firstChild !== browse.root) main.replaceChildren(browse.root)
  browse.show(state)
}

function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme
  try {
    if (theme) localStorage.setItem('meadow-theme', theme)
  } catch {
    // A framed page may not store anything; the theme then lasts as long as the page.
  }
}

function toggleTheme() {
  const dark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === 'dark'
    : matchMedia('(prefers-color-scheme: dark)').matches
  setTheme(dark ? 'light' : 'dark')
}

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || find('help').open) return
  const field = event.target.closest?.('input, select, textarea')
  if (field) {
    if (event.key === 'Escape') field.blur()
    return
  }
  const key = event.key
  if (key === '?') find('help').showModal()
  else if (key === 'd') toggleTheme()
  else if (key === 'o') navigate({ view: 'overview' })
  else if (key === 'l' && document.body.dataset.view !== 'losses') navigate({ view: 'losses' })
  else if (key === 'b' && document.body.dataset.view !== 'browse') navigate({ view: 'browse' })
  else if (document.body.dataset.view !== 'browse' || !browse?.keyPressed(key)) return
  event.preventDefault()
}

try {
  setTheme(localStorage.getItem('meadow-theme'))
} catch {
  // No storage: the system's theme it is.
}
find('theme').addEventListener('click', toggleTheme)
find('keys').addEventListener('click', () => find('help').showModal())
traffic.changed = () => {
  find('traffic').textContent = `${size(traffic.bytes)} fetched · ${traffic.requests} requests`
}
addEventListener('keydown', pressed)
addEventListener('hashchange', show)
addEventListener('popstate', show)

try {
  corpus = await openCorpus(new URL(setting('base'), document.baseURI), setting('search') !== '')
  await show()
} catch (error) {
  main.replaceChildren(el('p', { class: 'problem' }, `The corpus cannot be opened: ${error.message}`))
}
