// What the browse page needs of the Parquet reader, and nothing else. Our shards are zstd; hyparquet
// itself reads plain and snappy ones. hyparquet-compressors is left out: it compiles WebAssembly
// when it loads, which the page's content security policy refuses.
import { decompress } from 'fzstd'

export { parquetMetadataAsync, parquetReadObjects } from 'hyparquet'
export const compressors = { ZSTD: (input) => decompress(input) }
