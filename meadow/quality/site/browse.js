// Browse: choose a source, narrow the rows, read them one by one.

import { LIST_COLUMNS, ALL_COLUMNS, EVERYWHERE } from './corpus.js'
import { characters, count, el, searchTerms, marked, words } from './dom.js'
import { formatAddress } from './address.js'
import { promptText, recordView, chip } from './record.js'
import { Selection, isNarrowed } from './selection.js'

const PAGE = 50
const TEMPLATES = ['medalpaca', 'alpaca', 'fields']
const SNIPPET = 180
const MOST_SAVED = 20000
const CHOICES = ['task', 'license', 'origin', 'subset', 'flag', 'rewritten', 'contamination', 'min', 'max']

/** The Browse view: built once, then told the state of the page again and again. */
export class BrowseView {
  constructor({ corpus, searchAddress, licenses, navigate, title }) {
    Object.assign(this, { corpus, searchAddress, licenses, navigate, title })
    this.state = {}
    this.key = null
    this.page = 0
    this.turn = 0
    this.#build()
  }

  #build() {
    const select = (label, name) => {
      const control = el('select', { id: `pick-${name}`, onchange: () => this.#set({ [name]: control.value || undefined, row: undefined, id: undefined }) })
      return { control, field: el('label', { class: 'control' }, el('span', {}, label), control) }
    }
    this.source = select(this.corpus.isMix ? 'Mix' : 'Source', 'source')
    this.subset = select('Subset', 'subset')
    this.flag = select('Flag', 'flag')
    this.rewritten = select('Rewritten', 'rewritten')
    this.order = select('Order', 'order')
    this.order.field.hidden = this.flag.field.hidden = !this.searchAddress
    this.split = select('Split', 'split')
    this.task = select('Task', 'task')
    this.license = select('Licence', 'license')
    this.origin = select('From source', 'origin')
    this.contamination = select('Exam overlap', 'contamination')
    const number = (label, name) => {
      const control = el('input', { id: `pick-${name}`, type: 'number', min: 0, inputmode: 'numeric', placeholder: 'any',
        onchange: () => this.#set({ [name]: control.value === '' ? undefined : Math.max(0, Math.floor(Number(control.value))), row: undefined }) })
      return { control, field: el('label', { class: 'control short' }, el('span', {}, label), control) }
    }
    this.min = number('Answer, characters from', 'min')
    this.max = number('to', 'max')
    this.search = el('input', { id: 'search', type: 'search', placeholder: 'Search the text   ( / )', autocomplete: 'off', spellcheck: 'false', 'aria-label': 'Search the text' })
    const form = el('form', { class: 'search', role: 'search', onsubmit: (event) => {
      event.preventDefault()
      this.#set({ q: this.search.value.trim() || undefined, row: undefined })
      this.search.blur()
    } }, this.search)
    this.search.addEventListener('search', () => { if (this.search.value === '' && this.state.q) this.#set({ q: undefined, row: undefined }) })
    this.filters = el('details', { class: 'filters', ontoggle: () => { if (this.filters.open) this.#offerFacets() } },
      el('summary', {}, 'Filters', this.badge = el('span', { class: 'badge', hidden: true })),
      el('div', { class: 'panel' }, this.task.field, this.license.field, this.origin.field, this.subset.field, this.flag.field, this.rewritten.field, this.contamination.field, el('div', { class: 'span' }, this.min.field, this.max.field),
        el('button', { type: 'button', class: 'quiet', onclick: () => this.#clear() }, 'Clear all')))
    this.status = el('p', { class: 'status', role: 'status' })
    this.where = el('p', { class: 'where', hidden: true })
    this.list = el('ol', { class: 'rows' })
    this.tools = el('p', { class: 'tools' },
      el('button', { type: 'button', class: 'quiet', title: 'A row drawn at random  ( r )', onclick: () => this.random() }, 'Random row'),
      this.save = el('button', { type: 'button', class: 'quiet', title: 'Save the listed rows as JSON lines', onclick: () => this.#save() }, 'Save JSONL'))
    this.range = el('span', { class: 'range' })
    const pager = (label, title, step) => el('button', { type: 'button', title, 'aria-label': title, onclick: () => this.turnPage(step) }, label)
    this.goto = el('input', { id: 'goto', type: 'number', min: 0, inputmode: 'numeric', 'aria-label': 'Go to row', placeholder: 'row' })
    const jump = el('form', { class: 'goto', onsubmit: (event) => {
      event.preventDefault()
      if (this.goto.value !== '') this.#set({ row: Math.floor(Number(this.goto.value)), id: undefined })
      this.goto.blur()
    } }, this.goto, el('button', { type: 'submit' }, 'Go'))
    this.detail = el('div', { class: 'detail', tabindex: '-1' })
    this.root = el('div', { class: 'browse' },
      el('div', { class: 'toolbar' }, this.source.field, this.split.field, form, this.order.field, this.filters),
      el('div', { class: 'panes' },
        el('nav', { class: 'list', 'aria-label': 'Rows' }, this.status, this.where, this.tools, this.list,
          el('div', { class: 'pager' }, pager('‹', 'Previous page  ( [ )', -1), this.range, pager('›', 'Next page  ( ] )', 1), jump)),
        this.detail))
  }

  #set(change, options) {
    this.navigate({ ...this.state, ...change, view: 'browse' }, options)
  }

  #clear() {
    this.#set({ q: undefined, row: undefined, ...Object.fromEntries(CHOICES.map((name) => [name, undefined])) })
  }

  /** Show a state of the page. */
  show(state) {
    const known = [...this.corpus.sources, ...(this.corpus.configs.has(EVERYWHERE) ? [EVERYWHERE] : [])]
    const source = known.includes(state.source) ? state.source : this.corpus.sources[0]
    const splits = [...(this.corpus.configs.get(source)?.keys() ?? [])]
    const split = splits.includes(state.split) ? state.split : splits[0]
    this.state = { ...state, source, split: splits.length > 1 ? split : undefined }
    this.current = { source, split }
    this.#controls(splits)
    const { row, id, template, ...rest } = this.state
    const key = JSON.stringify(rest)
    if (key !== this.key) {
      this.key = key
      this.shownPage = null
      this.selection?.stop()
      this.list.replaceChildren()
      const changed = (selection) => { if (selection === this.selection) this.#grew() }
      this.selection = new Selection(this.corpus, source, split, this.state, this.searchAddress, changed)
      this.page = 0
    }
    this.root.classList.toggle('reading', row !== undefined || id !== undefined)
    if (id !== undefined && row === undefined) {
      this.#findId(id)
      return
    }
    if (row !== undefined && this.selection.has(row)) this.page = Math.floor(this.selection.place(row) / PAGE)
    this.#showPage()
    this.#showRow()
  }

  async #findId(id) {
    this.detail.replaceChildren(el('p', { class: 'loading' }, `Looking for ${id} …`))
    const { source, split } = this.current
    const signal = new AbortController().signal
    for await (const block of this.corpus.scan(source, split, ['id'], (row) => row.id === id, signal)) {
      if (this.state.id !== id) return
      if (block.hits.length) return this.#set({ row: block.hits[0], id: undefined }, { replace: true })
    }
    this.detail.replaceChildren(el('p', { class: 'problem' }, `No record ${id} in ${source}.`))
  }

  #controls(splits) {
    const { source, split } = this.current
    const everywhere = this.corpus.configs.has(EVERYWHERE) ? [[EVERYWHERE, `all · ${count(total(this.corpus, EVERYWHERE))}`]] : []
    options(this.source.control, [...this.corpus.sources.map((name) => [name, `${name} · ${count(total(this.corpus, name))}`]), ...everywhere], source)
    options(this.order.control, [['', 'as stored'], ...(this.state.q ? [['relevance', 'best first']] : []), ['longest', 'longest answer'], ['shortest', 'shortest answer']], this.state.order ?? '')
    options(this.rewritten.control, [['', 'any row'], ['yes', 'by a model'], ['no', 'text of the source']], this.state.rewritten ?? '')
    options(this.split.control, splits.map((name) => [name, `${name} · ${count(this.corpus.rows(source, name))}`]), split)
    this.split.field.hidden = splits.length < 2
    this.search.value = this.state.q ?? ''
    this.min.control.value = this.state.min ?? ''
    this.max.control.value = this.state.max ?? ''
    this.contamination.field.hidden = !this.corpus.hasContamination
    options(this.contamination.control, [['', 'any row'], ['any', 'some overlap'], ['options', 'options alone'], ['stem', 'stem'], ['stem+answer', 'stem and answer'], ['none', 'no overlap']], this.state.contamination ?? '')
    const active = CHOICES.filter((name) => this.state[name] !== undefined).length
    this.badge.hidden = active === 0
    this.badge.textContent = String(active)
    if (active || this.filters.open) this.#offerFacets()
  }

  async #offerFacets() {
    const { source, split } = this.current
    this.facetKey = `${source}/${split}`
    this.facets ??= new Map()
    if (!this.facets.has(this.facetKey)) this.facets.set(this.facetKey, countFacets(this.corpus, source, split))
    const key = this.facetKey
    const facets = await this.facets.get(key)
    if (key !== this.facetKey) return
    const offer = (control, all, counts, chosen) => {
      const known = [...counts].sort((a, b) => b[1] - a[1]).map(([name, n]) => [name, `${words(name)} · ${count(n)}`])
      if (chosen && !counts.has(chosen)) known.push([chosen, `${chosen} · 0`])
      options(control, [['', all], ...known], chosen ?? '')
    }
    offer(this.task.control, 'any task', facets.task, this.state.task)
    offer(this.license.control, 'any licence', facets.license, this.state.license)
    offer(this.origin.control, 'any source', facets.source, this.state.origin)
    offer(this.subset.control, 'any subset', facets.subset, this.state.subset)
    this.subset.field.hidden = facets.subset.size < 1 && !this.state.subset
    const report = this.searchAddress ? await this.corpus.report() : null
    const flags = (report?.flags ?? []).filter((flag) => flag.rows || flag.name === this.state.flag)
    options(this.flag.control, [['', 'any row'], ...flags.map((flag) => [flag.name, `${flag.title} · ${count(flag.rows)}`])], this.state.flag ?? '')
    this.origin.field.hidden = facets.source.size < 2 && !this.state.origin
  }

  /** The selection grew: a scan goes on, or the server answered. */
  #grew() {
    const { row } = this.state
    if (row !== undefined && this.selection.has(row)) this.page = Math.floor(this.selection.place(row) / PAGE)
    this.#showPage()
    if (row === undefined) this.#showRow()
  }

  #showStatus() {
    const { selection } = this
    const shown = isNarrowed(this.state)
    this.status.className = selection.error ? 'status problem' : 'status'
    if (selection.error) this.status.textContent = `The search failed: ${selection.error.message}`
    else if (!shown) this.status.textContent = `${count(selection.total)} rows`
    else if (!selection.done) this.status.textContent = `${count(selection.total)} found · ${count(selection.scanned)} of ${count(selection.rows)} read …`
    else this.status.textContent = `${count(selection.total)} of ${count(selection.rows)} rows`
    const parts = Object.entries(selection.counts ?? {})
    this.where.hidden = parts.length < 2
    this.where.replaceChildren(...parts.map(([name, rows]) =>
      el('a', { class: 'chip', href: formatAddress({ ...this.state, view: 'browse', ...(this.corpus.configs.has(name) ? { source: name } : { origin: name }), row: undefined }) }, `${name} ${count(rows)}`)))
    this.tools.hidden = selection.length === 0
    this.save.textContent = `Save ${count(Math.min(selection.length, MOST_SAVED))} rows`
    const first = this.page * PAGE
    const last = Math.min(first + PAGE, selection.length)
    // All rows: their numbers, which start at 0. Some rows: places in the list, which start at 1.
    const shift = shown ? 1 : 0
    this.range.textContent = selection.length ? `${count(first + shift)} – ${count(last - 1 + shift)}` : 'none'
  }

  async #showPage() {
    const { selection, page } = this
    this.#showStatus()
    const first = page * PAGE
    const numbers = Array.from({ length: Math.max(0, Math.min(PAGE, selection.length - first)) }, (_, index) => selection.at(first + index))
    const name = `${this.key}/${page}/${numbers.length}/${numbers.length ? '' : selection.done}`
    if (this.shownPage === name) return this.#markRow()
    this.shownPage = name
    if (!numbers.length) {
      this.list.replaceChildren(selection.done ? el('li', { class: 'empty' }, isNarrowed(this.state) ? 'No row passes.' : 'There are no rows.') : '')
      return
    }
    try {
      const { source, split } = this.current
      const rows = await this.corpus.pick(source, split, numbers, LIST_COLUMNS)
      if (this.shownPage !== name) return
      const terms = searchTerms(this.state.q ?? '')
      this.list.replaceChildren(...rows.map((row, index) => this.#item(row, numbers[index], terms)))
      this.#markRow(true)
    } catch (error) {
      if (this.shownPage !== name) return
      this.shownPage = null
      this.list.replaceChildren(el('li', { class: 'empty problem' }, `The shard cannot be read: ${error.message}`))
    }
  }

  #item(row, number, terms) {
    const text = (row.input || row.instruction).replace(/\s+/g, ' ').trim()
    return el('li', {},
      el('a', { href: formatAddress({ ...this.state, view: 'browse', row: number }), 'data-row': number },
        el('span', { class: 'head' },
          el('span', { class: 'number' }, count(number)), chip(words(row.task), 'task'),
          row.source === this.current.source ? null : chip(row.source),
          el('span', { class: 'length' }, `${count(characters(row.output))} characters`)),
        el('span', { class: 'text' }, marked(excerpt(text, terms), terms)),
        el('span', { class: 'answer' }, marked(excerpt(row.output.replace(/\s+/g, ' ').trim(), terms), terms))))
  }

  #rowNumber() {
    return this.state.row ?? (this.selection.length ? this.selection.at(this.page * PAGE) : undefined)
  }

  #markRow(scroll = false) {
    const number = this.#rowNumber()
    for (const anchor of this.list.querySelectorAll('a')) {
      const current = Number(anchor.dataset.row) === number
      if (current) anchor.setAttribute('aria-current', 'true')
      else anchor.removeAttribute('aria-current')
      if (current && (scroll || this.moved)) anchor.scrollIntoView({ block: 'nearest' })
    }
    this.moved = false
  }

  async #showRow() {
    const turn = ++this.turn
    const { source, split } = this.current
    const number = this.#rowNumber()
    if (number === undefined) {
      this.detail.replaceChildren(this.selection.done ? el('p', { class: 'loading' }, 'No row to show.') : el('p', { class: 'loading' }, 'Searching …'))
      return
    }
    const rows = this.corpus.rows(source, split)
    if (number >= rows) {
      this.detail.replaceChildren(el('p', { class: 'problem' }, `${source} ${split} has ${count(rows)} rows, so the last one is ${count(Math.max(0, rows - 1))}.`))
      return
    }
    if (!this.detail.firstChild) this.detail.replaceChildren(el('p', { class: 'loading' }, 'Reading …'))
    try {
      const [row] = await this.corpus.slice(source, split, number, number + 1, ALL_COLUMNS)
      if (turn !== this.turn) return
      this.row = row
      this.#render(row, number, rows, null, null)
      const findings = (await this.corpus.contamination()).get(row.id)
      const pair = row.rephrased_by ? await this.corpus.original(row.id) : null
      if (turn === this.turn && (findings || pair)) this.#render(row, number, rows, findings, pair)
    } catch (error) {
      if (turn === this.turn) this.detail.replaceChildren(el('p', { class: 'problem' }, `The row cannot be read: ${error.message}`))
    }
  }

  #render(row, number, total, findings, pair) {
    const template = TEMPLATES.includes(this.state.template) ? this.state.template : TEMPLATES[0]
    const segments = el('div', { class: 'segments', role: 'group', 'aria-label': 'Template' }, TEMPLATES.map((name) =>
      el('button', { type: 'button', 'aria-pressed': String(name === template), onclick: () => this.#set({ template: name === TEMPLATES[0] ? undefined : name }, { replace: true }) }, name)))
    const copy = (label, title, text) => el('button', { type: 'button', class: 'quiet', title, onclick: async (event) => {
      const button = event.currentTarget
      await navigator.clipboard.writeText(text())
      button.textContent = 'copied'
      setTimeout(() => { button.textContent = label }, 1200)
    } }, label)
    const address = () => new URL(formatAddress({ ...this.state, view: 'browse', row: number }), document.baseURI).href
    const actions = [
      el('button', { type: 'button', class: 'quiet back', onclick: () => this.#set({ row: undefined, id: undefined }) }, '‹ Rows'),
      segments,
      copy('Copy prompt', 'Copy the training text', () => promptText(row, template)),
      copy('Copy JSON', 'Copy the row', () => JSON.stringify(row, null, 2)),
      copy('Copy link', 'Copy the address of this row', address),
      el('span', { class: 'steps' },
        el('button', { type: 'button', title: 'Previous row  ( k )', 'aria-label': 'Previous row', onclick: () => this.step(-1) }, '↑'),
        el('button', { type: 'button', title: 'Next row  ( j )', 'aria-label': 'Next row', onclick: () => this.step(1) }, '↓')),
    ]
    const terms = searchTerms(this.state.q ?? '')
    this.detail.replaceChildren(recordView({ row, number, total, template, terms, findings, licenses: this.licenses, pair, actions }))
    this.detail.scrollTop = 0
    document.title = `${row.source} ${count(number)} · ${this.title}`
    this.#markRow()
  }

  /** Go to the next or the previous row of the list. */
  step(by) {
    const number = this.#rowNumber()
    if (number === undefined) return
    let place = this.selection.place(number)
    if (this.selection.has(number) || by < 0) place += by
    if (place < 0 || place >= this.selection.length) return
    this.moved = true
    this.#set({ row: this.selection.at(place), id: undefined }, { replace: true })
  }

  /** Go to a row of the list drawn at random. */
  random() {
    if (!this.selection.length) return
    this.moved = true
    this.#set({ row: this.selection.at(Math.floor(Math.random() * this.selection.length)), id: undefined })
  }

  /** Save the listed rows as JSON lines, in the order of the list. */
  async #save() {
    const { selection } = this
    const { source, split } = this.current
    const most = Math.min(selection.length, MOST_SAVED)
    const lines = []
    this.save.disabled = true
    try {
      for (let from = 0; from < most; from += 500) {
        const numbers = Array.from({ length: Math.min(500, most - from) }, (_, index) => selection.at(from + index))
        const rows = await this.corpus.pick(source, split, numbers, ALL_COLUMNS)
        for (const row of rows) lines.push(JSON.stringify(row))
        this.save.textContent = `${count(lines.length)} of ${count(most)} …`
      }
      const address = URL.createObjectURL(new Blob([lines.join('\n'), '\n'], { type: 'application/jsonl' }))
      el('a', { href: address, download: `${source === EVERYWHERE ? 'rows' : source}.jsonl` }).click()
      setTimeout(() => URL.revokeObjectURL(address), 60000)
    } catch (error) {
      this.status.textContent = `The rows cannot be read: ${error.message}`
    } finally {
      this.save.disabled = false
      this.#showStatus()
    }
  }

  /** Go to another page of the list. */
  turnPage(by) {
    const pages = Math.ceil(this.selection.length / PAGE)
    const page = this.page + by
    if (page < 0 || page >= pages) return
    this.page = page
    this.moved = true
    this.#set({ row: this.selection.at(page * PAGE), id: undefined }, { replace: true })
  }

  /** Keys of this view; true where one was used. */
  keyPressed(key) {
    if (key === 'j' || key === 'ArrowDown') this.step(1)
    else if (key === 'k' || key === 'ArrowUp') this.step(-1)
    else if (key === ']' || key === 'PageDown') this.turnPage(1)
    else if (key === '[' || key === 'PageUp') this.turnPage(-1)
    else if (key === '/') this.search.focus()
    else if (key === 'g') this.goto.focus()
    else if (key === 'r') this.random()
    else if (key === 'f') this.filters.open = !this.filters.open
    else if (key === 't') {
      const next = TEMPLATES[(TEMPLATES.indexOf(this.state.template ?? TEMPLATES[0]) + 1) % TEMPLATES.length]
      this.#set({ template: next === TEMPLATES[0] ? undefined : next }, { replace: true })
    } else if (key === 'Escape' && this.root.classList.contains('reading')) this.#set({ row: undefined, id: undefined })
    else return false
    return true
  }
}

const total = (corpus, name) => [...corpus.configs.get(name).values()].reduce((sum, split) => sum + split.rows, 0)

function options(control, pairs, chosen) {
  const wanted = JSON.stringify(pairs)
  if (control.dataset.offered !== wanted) {
    control.dataset.offered = wanted
    control.replaceChildren(...pairs.map(([value, label]) => el('option', { value }, label)))
  }
  control.value = chosen ?? ''
}

async function countFacets(corpus, source, split) {
  const facets = { task: new Map(), license: new Map(), source: new Map(), subset: new Map() }
  const names = Object.keys(facets)
  const tally = (row) => {
    for (const name of names) if (row[name] != null) facets[name].set(row[name], (facets[name].get(row[name]) ?? 0) + 1)
    return false
  }
  const steps = corpus.scan(source, split, names, tally, new AbortController().signal)
  while (!(await steps.next()).done);
  return facets
}

function excerpt(text, terms) {
  if (text.length <= SNIPPET) return text
  const lower = text.toLowerCase()
  const hit = Math.min(...terms.map((term) => lower.indexOf(term.toLowerCase())).filter((index) => index >= 0))
  if (!Number.isFinite(hit) || hit < SNIPPET / 2) return `${text.slice(0, SNIPPET)}…`
  const start = text.indexOf(' ', Math.max(0, hit - 60)) + 1
  return `…${text.slice(Math.min(start, hit), start + SNIPPET)}…`
}
