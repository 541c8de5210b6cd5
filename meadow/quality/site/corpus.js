// A corpus folder over HTTP: its manifest, its report, and rows of its Parquet shards.

import { compressors, parquetMetadataAsync, parquetReadObjects } from './vendor/parquet.js'
import { fetchJson, fetchWhole, openRanges } from './ranges.js'

export const PAIRS = 'raw_pairs'
const REPORT = 'report/report.json'
const TAIL_BYTES = 64 * 2 ** 10
const SCAN_BYTES = 3e6 // compressed bytes of one step of a scan: small enough to show progress

export const ALL_COLUMNS = undefined
/** All configs laid end to end, in the manifest's order: the place to search everywhere. */
export const EVERYWHERE = '*'
export const LIST_COLUMNS = ['instruction', 'input', 'output', 'task', 'license', 'source', 'subset']
export const TEXT_COLUMNS = ['instruction', 'input', 'output']

/**
 * Open the corpus at `base` (an address that ends with a slash).
 * `served`: a server makes the report when it is asked for; else the manifest says whether there is one.
 */
export async function openCorpus(base, served) {
  const manifest = await fetchJson(new URL('MANIFEST.json', base))
  if (manifest === null) throw new Error('there is no MANIFEST.json at ' + base)
  return new Corpus(base, manifest, served)
}

class Corpus {
  constructor(base, manifest, served) {
    this.hasReport = served || (manifest.files ?? []).some((file) => file.path === REPORT)
    this.base = base
    this.manifest = manifest
    this.files = new Map()
    this.configs = new Map()
    const given = Object.entries(manifest.configs ?? {})
    const listed = given.length
      ? given
      : Object.entries(manifest.sources ?? {}).map(([name, entry]) => [name, { train: entry.shards }])
    for (const [config, splits] of listed) {
      this.configs.set(config, new Map(Object.entries(splits).map(([split, shards]) => [split, layOut(shards)])))
    }
    const everything = this.sources.flatMap((name) => [...this.configs.get(name).values()].flatMap((split) => split.shards))
    if (this.sources.length > 1) this.configs.set(EVERYWHERE, new Map([['all', layOut(everything)]]))
    // A sidecar need not be a config: its shards may be named among the other files.
    const pairs = (manifest.files ?? []).filter((file) => file.path.startsWith(`data/${PAIRS}/`))
    if (pairs.length && !this.configs.has(PAIRS)) this.looseShards = pairs
  }

  /** The configs that hold records. */
  get sources() {
    return [...this.configs.keys()].filter((name) => name !== PAIRS && name !== EVERYWHERE)
  }

  get isMix() {
    return this.manifest.stage === 'mix'
  }

  /** The rejects of a source: { where, reason, detail, excerpt }; at most `most` bytes of them are read. */
  async rejects(source, most = 16e6) {
    const file = this.manifest.sources?.[source]?.quarantine
    if (this.isMix || !file?.bytes) return { rows: [], whole: true }
    this.quarantines ??= new Map()
    if (!this.quarantines.has(source)) {
      const end = Math.min(file.bytes, most)
      const bytes = openRanges(new URL(file.path, this.base), file.bytes).slice(0, end)
      this.quarantines.set(source, bytes.then((buffer) => {
        const lines = new TextDecoder().decode(buffer).split('\n')
        if (end < file.bytes) lines.pop() // the line that was cut
        return { rows: lines.filter(Boolean).map((line) => ({ source, ...JSON.parse(line) })), whole: end === file.bytes }
      }))
    }
    return this.quarantines.get(source)
  }

  /** A ledger of a mix, whole: "duplicates" or "contamination". */
  async ledger(name) {
    const path = `${name}.parquet`
    if (!(this.manifest.files ?? []).some((file) => file.path === path)) return []
    this.ledgers ??= new Map()
    if (!this.ledgers.has(name)) {
      const read = async () => {
        const buffer = await fetchWhole(new URL(path, this.base))
        return buffer === null ? [] : parquetReadObjects({ file: buffer, compressors })
      }
      this.ledgers.set(name, read())
    }
    return this.ledgers.get(name)
  }

  rows(config, split) {
    return this.configs.get(config)?.get(split)?.rows ?? 0
  }

  async report() {
    if (!this.hasReport) return null
    this.reported ??= fetchJson(new URL(REPORT, this.base)).catch(() => null)
    return this.reported
  }

  /** Findings of the decontamination step by record id; an empty map where there are none. */
  async contamination() {
    this.contaminated ??= this.#readContamination()
    return this.contaminated
  }

  get hasContamination() {
    return (this.manifest.files ?? []).some((file) => file.path === 'contamination.parquet')
  }

  async #readContamination() {
    const found = new Map()
    for (const row of await this.ledger('contamination')) {
      if (!found.has(row.row_id)) found.set(row.row_id, [])
      found.get(row.row_id).push(row)
    }
    return found
  }

  /** The text before a model rewrote it, or null. */
  async original(id) {
    const shards = await this.#pairShards()
    for (const shard of shards) {
      const ids = await this.#read(shard, 0, shard.rows, ['id'])
      const index = ids.findIndex((row) => row.id === id)
      if (index >= 0) return (await this.#read(shard, index, index + 1, ALL_COLUMNS))[0]
    }
    return null
  }

  async #pairShards() {
    if (this.configs.has(PAIRS)) return [...this.configs.get(PAIRS).values()].flatMap((s) => s.shards)
    for (const shard of this.looseShards ?? []) {
      shard.rows ??= Number((await this.#open(shard)).metadata.num_rows)
    }
    return this.looseShards ?? []
  }

  async #open(shard) {
    if (!this.files.has(shard.path)) {
      const file = openRanges(new URL(shard.path, this.base), shard.bytes)
      const opened = parquetMetadataAsync(file, { initialFetchSize: TAIL_BYTES })
        .then((metadata) => ({ file, metadata }))
      this.files.set(shard.path, opened)
      opened.catch(() => this.files.delete(shard.path))
    }
    return this.files.get(shard.path)
  }

  async #read(shard, rowStart, rowEnd, columns) {
    const { file, metadata } = await this.#open(shard)
    return parquetReadObjects({
      file, metadata, columns, rowStart, rowEnd, compressors, useOffsetIndex: true,
    })
  }

  /** Rows `start` to `end` of a split, across its shards. */
  async slice(config, split, start, end, columns) {
    const parts = []
    for (const shard of this.configs.get(config)?.get(split)?.shards ?? []) {
      const from = Math.max(start, shard.start)
      const to = Math.min(end, shard.start + shard.rows)
      if (from < to) parts.push(this.#read(shard, from - shard.start, to - shard.start, columns))
    }
    return (await Promise.all(parts)).flat()
  }

  /** The rows with these numbers, in this order; neighbours are read together. */
  async pick(config, split, numbers, columns) {
    const runs = []
    for (const number of [...numbers].sort((a, b) => a - b)) {
      const last = runs.at(-1)
      if (last && number - last.at(-1) < 200) last.push(number)
      else runs.push([number])
    }
    const found = new Map()
    await Promise.all(runs.map(async (run) => {
      const rows = await this.slice(config, split, run[0], run.at(-1) + 1, columns)
      for (const number of run) found.set(number, rows[number - run[0]])
    }))
    return numbers.map((number) => found.get(number))
  }

  /**
   * Walk through a split and yield, block by block, the numbers of the rows that pass.
   * Only `columns` are fetched; stop by aborting `signal`.
   */
  async *scan(config, split, columns, passes, signal) {
    for (const shard of this.configs.get(config)?.get(split)?.shards ?? []) {
      const step = await this.#scanRows(shard, columns)
      for (let from = 0; from < shard.rows; from += step) {
        if (signal.aborted) return
        const to = Math.min(shard.rows, from + step)
        const rows = await this.#read(shard, from, to, columns)
        const hits = []
        rows.forEach((row, index) => { if (passes(row)) hits.push(shard.start + from + index) })
        yield { hits, scanned: shard.start + to }
      }
    }
  }

  async #scanRows(shard, columns) {
    const { metadata } = await this.#open(shard)
    let bytes = 1
    for (const group of metadata.row_groups) {
      for (const chunk of group.columns) {
        if (columns.includes(chunk.meta_data.path_in_schema[0])) bytes += Number(chunk.meta_data.total_compressed_size)
      }
    }
    return Math.max(500, Math.floor((SCAN_BYTES * Math.max(1, shard.rows)) / bytes))
  }
}

function layOut(shards) {
  let rows = 0
  const laid = shards.map((shard) => {
    const placed = { ...shard, start: rows }
    rows += shard.rows
    return placed
  })
  return { shards: laid, rows, bytes: shards.reduce((sum, shard) => sum + shard.bytes, 0) }
}
