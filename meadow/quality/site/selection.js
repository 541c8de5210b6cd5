// Which rows of a split are listed: all of them, or those that pass the search and the filters.

import { TEXT_COLUMNS } from './corpus.js'
import { characters, searchTerms } from './dom.js'
import { FILTERS } from './address.js'

/** Whether the state narrows the list at all. */
export const isNarrowed = (state) => FILTERS.some((name) => state[name] !== undefined)

/** A predicate over rows, and the columns that it reads. */
async function compile(state, corpus) {
  const columns = new Set()
  const tests = []
  const equal = (column, value) => {
    if (value === undefined) return
    columns.add(column)
    tests.push((row) => row[column] === value)
  }
  equal('task', state.task)
  equal('license', state.license)
  equal('source', state.origin)
  equal('subset', state.subset)
  if (state.rewritten !== undefined) {
    columns.add('rephrased_by')
    tests.push((row) => (row.rephrased_by != null) === (state.rewritten === 'yes'))
  }
  if (state.contamination !== undefined) {
    const found = await corpus.contamination()
    columns.add('id')
    tests.push((row) => {
      const levels = (found.get(row.id) ?? []).map((finding) => finding.level)
      const real = levels.filter((level) => level !== 'none')
      if (state.contamination === 'any') return real.length > 0
      if (state.contamination === 'none') return real.length === 0
      return levels.includes(state.contamination)
    })
  }
  if (state.min !== undefined || state.max !== undefined) {
    columns.add('output')
    tests.push((row) => {
      const length = characters(row.output)
      return length >= (state.min ?? 0) && length <= (state.max ?? Infinity)
    })
  }
  const terms = searchTerms(state.q ?? '').map((term) => term.toLowerCase())
  if (terms.length) {
    TEXT_COLUMNS.forEach((name) => columns.add(name))
    tests.push((row) => {
      const text = TEXT_COLUMNS.map((name) => row[name]).join('\n').toLowerCase()
      return terms.every((term) => text.includes(term))
    })
  }
  return { columns: [...columns], passes: (row) => tests.every((test) => test(row)) }
}

/**
 * The rows of a split that pass, found by the server where there is one and by scanning otherwise.
 * `changed` is called as the list grows.
 */
export class Selection {
  constructor(corpus, source, split, state, searchAddress, changed) {
    this.corpus = corpus
    this.source = source
    this.split = split
    this.rows = corpus.rows(source, split)
    this.numbers = null
    this.total = this.rows
    this.scanned = this.rows
    this.done = true
    this.error = null
    this.counts = null
    this.places = null
    this.controller = new AbortController()
    if (!isNarrowed(state) && !(searchAddress && state.order)) return
    this.numbers = []
    this.total = 0
    this.scanned = 0
    this.done = false
    this.finished = (searchAddress ? this.#ask(searchAddress, state) : this.#scan(state))
      .catch((error) => {
        if (!this.controller.signal.aborted) this.error = error
      })
      .finally(() => {
        this.done = true
        changed(this)
      })
    this.changed = changed
  }

  stop() {
    this.controller.abort()
  }

  /** The row number at a place of the list. */
  at(place) {
    return this.numbers === null ? place : this.numbers[place]
  }

  /** How many places can be shown now. */
  get length() {
    return this.numbers === null ? this.total : this.numbers.length
  }

  /** The place of a row number, or of the first one after it. */
  place(number) {
    if (this.numbers === null) return Math.min(number, Math.max(0, this.total - 1))
    if (this.places) return this.places.get(number) ?? 0
    let low = 0
    let high = this.numbers.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.numbers[middle] < number) low = middle + 1
      else high = middle
    }
    return low
  }

  has(number) {
    if (this.places) return this.places.has(number)
    return this.numbers === null ? number < this.total : this.numbers[this.place(number)] === number
  }

  async #ask(address, state) {
    const url = new URL(address, document.baseURI)
    url.searchParams.set('source', this.source)
    url.searchParams.set('split', this.split)
    for (const name of [...FILTERS, 'order']) if (state[name] !== undefined) url.searchParams.set(name, state[name])
    const response = await fetch(url, { signal: this.controller.signal })
    const answer = await response.json()
    if (!response.ok) throw new Error(answer.error ?? `${response.status}`)
    this.numbers = answer.rows
    this.counts = answer.counts
    if (state.order) this.places = new Map(answer.rows.map((number, place) => [number, place]))
    this.total = answer.total
    this.scanned = this.rows
  }

  async #scan(state) {
    const { columns, passes } = await compile(state, this.corpus)
    const signal = this.controller.signal
    for await (const block of this.corpus.scan(this.source, this.split, columns, passes, signal)) {
      if (signal.aborted) return
      for (const hit of block.hits) this.numbers.push(hit)
      this.total = this.numbers.length
      this.scanned = block.scanned
      this.changed(this)
    }
  }
}
