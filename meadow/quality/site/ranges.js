// Bytes by HTTP ranges: what the Parquet reader asks for is fetched, kept for a while and counted.

const KEPT_BYTES = 64 * 2 ** 20
const TAIL_BYTES = 64 * 2 ** 10

/** What this page has fetched from the shards so far. */
export const traffic = { requests: 0, bytes: 0, changed: () => {} }

function note(bytes) {
  traffic.requests += 1
  traffic.bytes += bytes
  traffic.changed()
}

/** Fetch a small file whole; null where there is none. */
export async function fetchWhole(url) {
  const response = await fetch(url)
  if (response.status === 404) return null
  if (!response.ok) throw new Error(`${response.status} ${response.statusText} for ${url}`)
  const buffer = await response.arrayBuffer()
  note(buffer.byteLength)
  return buffer
}

/** Fetch a small JSON file; null where there is none. */
export async function fetchJson(url) {
  const buffer = await fetchWhole(url)
  return buffer === null ? null : JSON.parse(new TextDecoder().decode(buffer))
}

/**
 * A file that hyparquet can read by ranges. Its length comes from the manifest, so that no HEAD
 * request is needed; the tail is fetched once, since footer and page index both lie there.
 */
export function openRanges(url, byteLength) {
  const segments = []
  let kept = 0

  async function load(start, end) {
    const response = await fetch(url, { headers: { Range: `bytes=${start}-${end - 1}` } })
    const buffer = await response.arrayBuffer()
    note(buffer.byteLength)
    if (response.status === 200 && buffer.byteLength === byteLength) return buffer.slice(start, end)
    if (response.status !== 206) throw new Error(`${response.status} for a range of ${url}`)
    if (buffer.byteLength !== end - start) throw new Error(`short answer for a range of ${url}`)
    return buffer
  }

  function hold(start, end) {
    const segment = { start, end, bytes: load(start, end) }
    segments.push(segment)
    kept += end - start
    while (kept > KEPT_BYTES && segments.length > 1) {
      const oldest = segments.shift()
      kept -= oldest.end - oldest.start
    }
    // A failed range must not be remembered: the next attempt may succeed.
    segment.bytes.catch(() => {
      const index = segments.indexOf(segment)
      if (index >= 0) segments.splice(index, 1)
    })
    return segment
  }

  return {
    byteLength,
    async slice(start, end = byteLength) {
      let segment = segments.find((s) => s.start <= start && end <= s.end)
      if (!segment) {
        const tail = Math.max(0, byteLength - TAIL_BYTES)
        segment = start >= tail ? hold(tail, byteLength) : hold(start, end)
      }
      const bytes = await segment.bytes
      return bytes.slice(start - segment.start, end - segment.start)
    },
  }
}
