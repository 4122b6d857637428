import { quote } from '../../base/printable.js';
import { withJsonReader } from './read-json.js';

const MOST_SHARDS = 10_000;
const SHARD_NAME = /^[A-Za-z0-9._-]+\.safetensors$/;

/** What a map entry costs beyond its texts. */
const ENTRY_OVERHEAD = 64;

/**
 * Reads the index of a model in several files: the file of each tensor, by the tensor's name. File names are
 * held to letters, digits, dot, dash and underscore, so that none can be a path.
 *
 * @throws TrainyardError MODEL_UNREADABLE
 */
export function readShardIndex(path: string): ReadonlyMap<string, string> {
  return withJsonReader(path, (json, refuse) => {
    // One string per file, however many tensors name it.
    const files = new Map<string, string>();
    const fileOf = new Map<string, string>();
    json.skipWhitespace();
    json.readObject((key) => {
      if (key !== 'weight_map') {
        json.skipValue();
        return;
      }
      json.readObject((tensor) => {
        const file = json.readString();
        if (!SHARD_NAME.test(file))
          refuse(`file names in weight_map match ${SHARD_NAME.source}`, quote(file));
        if (!files.has(file)) files.set(file, file);
        if (files.size > MOST_SHARDS) refuse(`weight_map names at most ${MOST_SHARDS} files`);
        json.keep(ENTRY_OVERHEAD);
        fileOf.set(tensor, files.get(file) ?? file);
      });
    });
    json.readEnd();
    if (fileOf.size === 0) refuse('a weight_map with at least one tensor', 'none');
    return fileOf;
  });
}
