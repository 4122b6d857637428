import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadConfig, resolveConfig, type UserConfig } from '../../src/engine/config.js';
import { richConfiguration } from '../rich-configuration.js';
import type { MakeFuzzer } from './fuzz.js';
import { damageText, type Json, mutateSeveral, pick, STRANGE_VALUES } from './mutate-json.js';

/** Configurations: as objects, as files, and changed by flags. */
export const configurations: MakeFuzzer = (folder) => {
  const rich: Json = richConfiguration;
  const text = JSON.stringify(rich, null, 1);
  const good = join(folder, 'good.json');
  writeFileSync(good, text);
  const damaged = join(folder, 'damaged.json');
  const paths = pathsOf(rich);
  return {
    codes: ['CONFIG_INVALID', 'CONFIG_CONFLICT', 'CONFIG_UNREADABLE', 'CONFIG_UNSUPPORTED', 'USAGE'],
    round(chance) {
      const kind = chance();
      if (kind < 0.6) {
        const worldSize = 1 + Math.floor(chance() * 4);
        resolveConfig(mutateSeveral(rich, chance) as UserConfig, { worldSize });
        return;
      }
      if (kind < 0.8) {
        writeFileSync(damaged, damageText(text, chance));
        loadConfig(damaged);
        return;
      }
      const value = JSON.stringify(pick(STRANGE_VALUES, chance));
      loadConfig(good, [`${pick(paths, chance)}=${chance() < 0.9 ? value : value.slice(1)}`]);
    },
  };
};

function pathsOf(value: Json, path: readonly string[] = []): readonly string[] {
  const own = path.length === 0 ? [] : [path.join('.')];
  if (typeof value !== 'object' || value === null) return own;
  return [
    ...own,
    ...Object.entries(value).flatMap(([key, inner]: [string, Json]) => pathsOf(inner, [...path, key])),
  ];
}
