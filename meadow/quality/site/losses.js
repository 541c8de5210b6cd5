// Losses: what is not in the corpus and why: rejects, duplicates, rows that touch an exam.

import { count, el, marked, searchTerms, words } from './dom.js'
import { formatAddress } from './address.js'
import { chip, difference } from './record.js'

const PAGE = 50
const KINDS = {
  rejects: 'Candidates of which no row was made, each with its reason and its place in the raw file.',
  duplicates: 'Rows that were dropped, each beside the row that stands for it; differing words are marked.',
  exams: 'Rows that touch an item of an exam, as found before anything was removed.',
}
const BUILD = 'The whole text stands in the corpus that the mix was made of: meadow browse MIX --corpus CORPUS shows it.'
const BAD = { 'stem+answer': 'bad', stem: 'warn', options: 'warn', semantic: 'calm' }

/** The Losses view: one list with filters, fifty entries a page. */
export class LossesView {
  constructor({ corpus, navigate, rowAddress }) {
    Object.assign(this, { corpus, navigate, rowAddress })
    this.turn = 0
    this.kinds = corpus.isMix ? ['duplicates', 'exams'] : ['rejects']
    const select = (label, name) => {
      const control = el('select', { id: `lost-${name}`, onchange: () => this.#set({ [name]: control.value || undefined, page: undefined }) })
      return { control, field: el('label', { class: 'control' }, el('span', {}, label), control) }
    }
    this.source = select('Source', 'source')
    this.reason = select(corpus.isMix ? 'Kind' : 'Reason', 'reason')
    this.search = el('input', { id: 'lost-search', type: 'search', placeholder: 'Search these', 'aria-label': 'Search these' })
    const form = el('form', { class: 'search', role: 'search', onsubmit: (event) => {
      event.preventDefault()
      this.#set({ q: this.search.value.trim() || undefined, page: undefined })
    } }, this.search)
    this.tabs = el('nav', { class: 'segments', 'aria-label': 'Kinds of losses' })
    this.lead = el('p', { class: 'lead' })
    this.list = el('ol', { class: 'losses' })
    this.range = el('span', { class: 'range' })
    const pager = (label, title, by) => el('button', { type: 'button', 'aria-label': title, title, onclick: () => this.#turn(by) }, label)
    this.pager = el('div', { class: 'pager' }, pager('‹', 'Previous page', -1), this.range, pager('›', 'Next page', 1))
    this.root = el('div', { class: 'lost' },
      el('div', { class: 'toolbar' }, this.kinds.length > 1 ? this.tabs : null, this.source.field, this.reason.field, form),
      this.lead, this.list, this.pager)
  }

  #set(change) {
    this.navigate({ ...this.state, ...change, view: 'losses' })
  }

  #turn(by) {
    const page = (this.state.page ?? 0) + by
    if (page < 0 || page * PAGE >= this.found.length) return
    this.#set({ page: page || undefined })
    scrollTo({ top: 0 })
  }

  async show(state) {
    const turn = ++this.turn
    const kind = this.kinds.includes(state.losses) ? state.losses : this.kinds[0]
    this.state = { ...state, losses: kind }
    this.search.value = state.q ?? ''
    this.tabs.replaceChildren(...this.kinds.map((name) =>
      el('button', { type: 'button', 'aria-pressed': String(name === kind), onclick: () => this.navigate({ view: 'losses', losses: name }) }, name)))
    this.lead.textContent = KINDS[kind]
    this.list.replaceChildren(el('li', { class: 'loading' }, 'Reading …'))
    try {
      const { entries, note } = await this.#read(kind)
      if (turn !== this.turn) return
      const from = kind === 'exams' ? 'exam' : 'source'
      this.source.field.firstChild.textContent = from.replace(/^./, (first) => first.toUpperCase())
      this.#offer(this.source, entries, (entry) => entry.source, `any ${from}`)
      this.#offer(this.reason, entries, (entry) => entry.reason, 'any')
      const terms = searchTerms(state.q ?? '')
      const needles = terms.map((term) => term.toLowerCase())
      this.found = entries.filter((entry) =>
        (state.source === undefined || entry.source === state.source)
        && (state.reason === undefined || entry.reason === state.reason)
        && needles.every((needle) => entry.text.toLowerCase().includes(needle)))
      this.pager.hidden = this.found.length <= PAGE
      const page = Math.min(state.page ?? 0, Math.max(0, Math.ceil(this.found.length / PAGE) - 1))
      const first = page * PAGE
      const shown = this.found.slice(first, first + PAGE)
      this.lead.textContent = `${KINDS[kind]} ${count(this.found.length)} of ${count(entries.length)}.${note}`
      this.list.replaceChildren(...(shown.length ? shown.map((entry) => entry.view(terms)) : [el('li', { class: 'empty' }, entries.length ? 'None passes.' : 'There are none.')]))
      this.range.textContent = shown.length ? `${count(first + 1)} – ${count(first + shown.length)}` : 'none'
    } catch (error) {
      if (turn === this.turn) this.list.replaceChildren(el('li', { class: 'problem' }, `The list cannot be read: ${error.message}`))
    }
  }

  #offer(select, entries, of, all) {
    const counts = new Map()
    for (const entry of entries) counts.set(of(entry), (counts.get(of(entry)) ?? 0) + 1)
    const known = [...counts].sort((a, b) => b[1] - a[1])
    select.control.replaceChildren(el('option', { value: '' }, all),
      ...known.map(([name, rows]) => el('option', { value: name }, `${words(name)} · ${count(rows)}`)))
    select.control.value = this.state[select === this.source ? 'source' : 'reason'] ?? ''
  }

  async #read(kind) {
    this.entries ??= new Map()
    if (!this.entries.has(kind)) this.entries.set(kind, this[`_${kind}`]())
    return this.entries.get(kind)
  }

  async _rejects() {
    const parts = await Promise.all(Object.keys(this.corpus.manifest.sources ?? {}).map((name) => this.corpus.rejects(name)))
    const cut = parts.some((part) => !part.whole)
    const entries = parts.flatMap((part) => part.rows).map((row) => ({
      source: row.source,
      reason: row.reason,
      text: [row.detail, row.excerpt, row.where].join('\n'),
      view: (terms) => el('li', {},
        el('p', { class: 'head' }, chip(words(row.reason), 'warn'), chip(row.source), el('code', {}, row.where)),
        row.detail ? el('p', {}, marked(row.detail, terms)) : null,
        row.excerpt ? el('blockquote', {}, marked(row.excerpt, terms)) : null),
    }))
    return { entries, note: cut ? ' Of a large list the first 16 MB are shown.' : '' }
  }

  async _duplicates() {
    const pairs = await this.corpus.ledger('duplicates')
    const entries = pairs.map((pair) => ({
      source: pair.dropped_source,
      reason: pair.kind,
      text: [pair.dropped_question, pair.kept_question, pair.dropped_id, pair.kept_id].join('\n'),
      view: (terms) => {
        const body = el('div', {})
        return el('li', {}, el('details', { ontoggle: (event) => { if (event.target.open && !body.firstChild) this.#compare(pair, body) } },
          el('summary', {}, chip(pair.kind), chip(`Jaccard ${Number(pair.jaccard).toFixed(2)}`, 'calm'),
            chip(`${pair.dropped_source} → ${pair.kept_source}`),
            el('span', { class: 'text' }, marked(pair.dropped_question ?? '', terms))),
          body))
      },
    }))
    return { entries, note: '' }
  }

  /** A row by its id, from the mix or the build behind it; null without a server, or where neither has it. */
  async #ask(id) {
    return this.rowAddress ? (await (await fetch(`${this.rowAddress}?id=${encodeURIComponent(id)}`)).json()).row : null
  }

  /** The text of a row that touches an exam's item. */
  async #touching(touched, body) {
    body.replaceChildren(el('p', { class: 'loading' }, 'Reading …'))
    const row = await this.#ask(touched.row_id)
    body.replaceChildren(...(row
      ? [row.instruction, row.input, row.output].filter(Boolean).map((text) => el('blockquote', {}, text))
      : [el('p', { class: 'none' }, BUILD)]))
  }

  /** The dropped row beside the kept one; without a server (or the build) only what the ledger holds. */
  async #compare(pair, body) {
    body.replaceChildren(el('p', { class: 'loading' }, 'Reading …'))
    const [kept, dropped] = await Promise.all([this.#ask(pair.kept_id), this.#ask(pair.dropped_id)])
    const question = (row, name) => row?.input || row?.instruction || pair[`${name}_question`] || ''
    const sides = [['question', question(dropped, 'dropped'), question(kept, 'kept')]]
    if (kept && dropped) sides.push(['answer', dropped.output, kept.output])
    body.replaceChildren(
      ...sides.map(([label, gone, stays]) => pairView(label, gone, stays, pair)),
      ...(kept && dropped ? [] : [el('p', { class: 'none' }, BUILD)]))
  }

  async _exams() {
    const found = (await this.corpus.ledger('contamination')).filter((row) => row.level !== 'none')
    const entries = found.map((row) => ({
      source: row.exam,
      reason: row.level,
      text: [row.item_id, row.row_id, row.matched].join('\n'),
      view: (terms) => {
        const body = el('div', {})
        return el('li', {}, el('details', { ontoggle: (event) => { if (event.target.open && !body.firstChild) this.#touching(row, body) } },
          el('summary', {}, chip(row.level, BAD[row.level] ?? 'calm'), chip(row.exam), el('code', {}, row.item_id.slice(0, 16)),
            el('span', {}, `score ${Number(row.score).toFixed(2)}`), el('span', { class: 'text' }, marked(words(row.matched ?? ''), terms)),
            el('a', { href: formatAddress({ view: 'browse', id: row.row_id }) }, `row ${row.row_id.slice(0, 12)}`)),
          body))
      },
    }))
    return { entries, note: '' }
  }
}

function pairView(label, gone, stays, pair) {
  const parts = difference(gone, stays)
  const side = (kind, tag, whole) => el('p', { class: 'value' }, parts === null ? whole
    : parts.filter(([k]) => k === 'same' || k === kind).map(([k, text]) => (k === 'same' || !text.trim() ? text : el(tag, {}, text))))
  return el('div', { class: 'pair' }, el('h4', {}, label),
    el('div', { class: 'sides' },
      el('div', {}, el('small', {}, `dropped · ${pair.dropped_source} ${pair.dropped_id.slice(0, 12)}`), side('gone', 'del', gone)),
      el('div', {}, el('small', {}, `kept · ${pair.kept_source} ${pair.kept_id.slice(0, 12)}`), side('new', 'ins', stays))))
}
