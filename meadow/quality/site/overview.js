// Overview: what the corpus is, from its report; from the manifest alone where there is none.

import { formatAddress } from './address.js'
import { bars, flow, histogram, matrix, table } from './charts.js'
import { count, el, link, percent, size, words } from './dom.js'

const sum = (counts) => Object.values(counts ?? {}).reduce((total, value) => total + value, 0)
const to = (state) => formatAddress({ view: 'browse', ...state })

function section(title, lead, ...content) {
  return el('section', { class: 'card' }, el('h2', {}, title), lead ? el('p', { class: 'lead' }, lead) : null, content)
}

function figures(entries) {
  return el('dl', { class: 'figures' }, entries.map(([name, value, note]) =>
    el('div', {}, el('dt', {}, name), el('dd', {}, value), note ? el('p', {}, note) : null)))
}

function header(report) {
  const rows = report.rows
  const publishable = report.licenses.filter((license) => license.redistribute === 'yes').reduce((sum, license) => sum + license.rows, 0)
  const lost = report.flow.reduce((sum, stage) => sum + (stage.lost ?? 0), 0)
  const exams = report.contamination.exams
  const touched = exams.reduce((sum, exam) => sum + Object.entries(exam.rows).reduce((n, [level, value]) => (level === 'none' ? n : n + value), 0), 0)
  return figures([
    ['rows', count(rows), `${count(report.shards)} shard${report.shards === 1 ? '' : 's'}, ${size(report.bytes)}`],
    ['sources', count(report.sources.filter((source) => source.rows).length), report.sources.filter((source) => source.rows).map((s) => s.name).slice(0, 4).map(words).join(', ') + (report.sources.length > 4 ? ' …' : '')],
    ['redistributable', percent(rows ? publishable / rows : 0), `${count(publishable)} rows by licence`],
    ['set aside', count(lost), 'each one with a reason'],
    report.contamination.checked
      ? ['exam overlap', count(touched), `rows found against ${exams.length} exam${exams.length === 1 ? '' : 's'}`]
      : ['exam overlap', '–', 'a mix is checked; this is a build'],
  ])
}

function sources(report) {
  return section('Sources', 'Rows by source. Follow a name to read its rows.',
    bars(report.sources.map((source) => ({
      label: words(source.name), value: source.rows,
      note: report.rows ? percent(source.rows / report.rows) : '',
      href: source.rows && source.config ? to({ source: source.config, origin: source.config === source.name ? undefined : source.name }) : null,
    }))))
}

function losses(report) {
  return section('From raw rows to this corpus', 'What went in at each stage, what came out, and why the rest did not.', flow(report.flow))
}

function lengths(report) {
  const { edges, fields, sources: by } = report.lengths
  const names = Object.keys(by)
  return section('Lengths', 'In characters; the bins double.',
    el('div', { class: 'histograms' }, Object.entries(fields).map(([name, counts]) =>
      el('figure', {}, el('figcaption', {}, name === 'output' ? 'response' : name), histogram(edges, counts, 'characters')))),
    table([{ name: 'Source' }, { name: 'Prompt, median', number: true }, { name: '95 %', number: true }, { name: 'Response, median', number: true }, { name: '95 %', number: true }, { name: 'Longest', number: true }],
      names.map((name) => {
        const { prompt, output } = by[name]
        return [words(name), ...[prompt.median, prompt.p95, output.median, output.p95, output.max].map((value) => count(value))]
      })))
}

function parts(report) {
  const known = (report.parts ?? []).some((part) => part.expected !== null || part.note)
  if (!known) return null // what was found stands above, source by source
  const value = (number) => (number === null || number === undefined ? '–' : count(number))
  return section("The recipe's parts", 'What the recipe expects and what the corpus gave.',
    table([{ name: 'Part' }, { name: 'Expected', number: true }, { name: 'Found', number: true }, { name: '' }, { name: 'Note' }],
      report.parts.map((part) => [part.part, value(part.expected), value(part.found), part.met === true ? 'met' : part.met === false ? 'missed' : '', part.note ?? ''])))
}

function licenses(report) {
  const terms = (license) => [
    license.redistribute === 'yes' ? 'may be republished' : license.redistribute === 'no' ? 'not to be republished' : 'republication unknown',
    license.attribution ? 'name the authors' : null, license.share_alike ? 'share alike' : null, license.non_commercial ? 'non-commercial' : null,
  ].filter(Boolean).join(' · ')
  return section('Licences', 'The licence stands in every row.',
    table([{ name: 'Licence' }, { name: 'Rows', number: true }, { name: 'Terms' }],
      report.licenses.map((license) => [license.url ? link(license.url, license.name) : license.name, count(license.rows), terms(license)])))
}

function duplicates(report) {
  const { sources: names, matrix: cells, basis, pairs } = report.duplicates
  return section('Duplicates across sources', basis,
    pairs ? matrix(names, cells) : el('p', {}, 'None was found.'))
}

function contamination(report) {
  const { checked, exams } = report.contamination
  if (!checked) return section('Overlap with exams', 'Not checked here: `meadow mix` compares every row with every exam item and writes contamination.parquet.')
  const levels = ['options', 'stem', 'stem+answer']
  return section('Overlap with exams', 'Training rows that hold the options of an exam item, its stem, or stem and answer, as found before anything was removed.',
    table([{ name: 'Exam' }, { name: 'Items', number: true }, ...levels.map((level) => ({ name: `Rows: ${level}`, number: true })), { name: 'Still here', number: true }, { name: 'Verdict' }],
      exams.map((exam) => [exam.exam, count(exam.items), ...levels.map((level) => count(exam.rows[level] ?? 0)), count(sum(exam.remaining)), exam.verdict])),
    el('p', {}, el('a', { href: to({ contamination: 'any' }) }, 'Read the rows that overlap'), ' (those that were kept).'))
}

function personal(report) {
  const { kinds, sources: by } = report.personal_data
  return section('Personal data', 'Replaced in free text by typed placeholders; values are never logged. Names may remain.',
    kinds.length
      ? table([{ name: 'Source' }, ...kinds.map((kind) => ({ name: words(kind), number: true }))],
        Object.entries(by).map(([source, counts]) => [words(source), ...kinds.map((kind) => count(counts[kind] ?? 0))]))
      : el('p', {}, 'Nothing was replaced.'))
}

function flags(report) {
  const found = report.flags.filter((flag) => flag.rows)
  const clean = report.flags.filter((flag) => !flag.rows)
  return section('Quality flags', 'Rows a careful reader should look at. A flag removes nothing.',
    found.map((flag) => el('details', { class: 'flag' },
      el('summary', {}, el('b', {}, flag.title), el('span', { class: 'figure' }, count(flag.rows), el('small', {}, ` ${percent(flag.rows / Math.max(1, report.rows))}`))),
      el('p', {}, flag.why),
      el('ul', { class: 'examples' }, flag.examples.map((example) => el('li', {},
        el('a', { href: to({ source: example.config, split: example.split, row: example.row }) }, `${words(example.config)} ${count(example.row)}`),
        ' ', el('span', {}, example.excerpt)))))),
    clean.length ? el('p', { class: 'clean' }, 'Not found: ', clean.map((flag) => flag.title.toLowerCase()).join(', '), '.') : null)
}

function release(report) {
  const value = (number) => (number === null || number === undefined ? '–' : count(number))
  const { notes } = report.release_2023
  const rows = report.release_2023.rows.filter((row) => row.published !== null || row.mix !== null)
  if (!rows.length) return null
  return section('Beside the 2023 release', 'Counts then and now, and why they differ.',
    table([{ name: 'Source' }, { name: 'Published 2023', number: true }, { name: 'In the 2023 mix', number: true }, { name: 'Here', number: true }, { name: 'Why' }],
      rows.map((row) => [words(row.source), value(row.published), value(row.mix), value(row.found), row.why])),
    notes.map((note) => el('p', {}, note)))
}

/** Overview of a corpus that has no report. */
function plain(corpus) {
  const rows = [...corpus.configs].flatMap(([config, splits]) => [...splits].map(([split, { rows: n, bytes, shards }]) => [config, split, n, bytes, shards.length]))
  return el('div', { class: 'overview' },
    figures([['rows', count(rows.reduce((sum, row) => sum + row[2], 0))], ['configs', count(corpus.configs.size)]]),
    section('Contents', 'This corpus has no report yet: meadow report writes one.',
      bars(rows.map(([config, split, n]) => ({ label: `${words(config)} ${split}`, value: n, href: to({ source: config, split }) })))))
}

/** The Overview as one element. */
export function overviewView(corpus, report) {
  if (report === null) return plain(corpus)
  return el('div', { class: 'overview' },
    header(report),
    (report.warnings ?? []).map((text) => el('p', { class: 'warning' }, text)),
    sources(report), losses(report), parts(report), licenses(report), lengths(report), duplicates(report),
    contamination(report), personal(report), flags(report), release(report))
}
