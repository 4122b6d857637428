import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { openTokenCache } from './token-cache.js';
import type { TokenStore } from './token-store.js';
import { loadTokenizer } from './tokenizer/load-tokenizer.js';

const roots: string[] = [];
let root = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'trainyard-cache-'));
  roots.push(root);
});
after(() => {
  for (const path of roots) rmSync(path, { recursive: true });
});

function put(name: string, text: string): void {
  writeFileSync(join(root, name), text);
}

function open(name: string): Promise<TokenStore> {
  const corpus = { files: [join(root, name)], textField: 'text', tokenizer: loadTokenizer('bytes', root) };
  return openTokenCache(corpus, join(root, 'cache'));
}

function cacheFiles(): string[] {
  return readdirSync(join(root, 'cache')).sort();
}

describe('the token cache', () => {
  it('is made once for the same contents, wherever they lie, and anew for others', async () => {
    put('a.txt', 'some text to cache');
    await open('a.txt');
    const [bin = '', json = ''] = cacheFiles();
    assert.match(bin, /^[0-9a-f]{32}\.bin$/);
    assert.equal(json, bin.replace('.bin', '.json'));
    const made = statSync(join(root, 'cache', bin)).ino;
    put('b.txt', 'some text to cache');
    await open('b.txt');
    assert.deepEqual(cacheFiles(), [bin, json]);
    assert.equal(statSync(join(root, 'cache', bin)).ino, made);
    put('a.txt', 'some text to Cache');
    await open('a.txt');
    assert.equal(cacheFiles().length, 4);
  });

  it('is made again when a byte of it changed, it was cut, or its description is gone', async () => {
    put('a.txt', 'some text to cache');
    const expected = [...(await open('a.txt')).ids];
    const [bin, json] = cacheFiles().map((name) => join(root, 'cache', name));
    assert.ok(bin !== undefined && json !== undefined);
    const damages: readonly (() => void)[] = [
      () => {
        const bytes = readFileSync(bin);
        bytes[7] = (bytes[7] ?? 0) ^ 4;
        replace(bin, bytes);
      },
      () => replace(bin, readFileSync(bin).subarray(0, 9)),
      () => rmSync(bin),
      () => rmSync(json),
      () => replace(json, Buffer.from('{')),
      () => replace(json, Buffer.from(readFileSync(json, 'utf8').replace('"tokens": 19', '"tokens": 18'))),
    ];
    for (const damage of damages) {
      damage();
      assert.deepEqual([...(await open('a.txt')).ids], expected);
      assert.equal(cacheFiles().length, 2);
    }
  });

  it('serves several who ask at once', async () => {
    put('a.txt', 'some text to cache '.repeat(1000));
    const all = await Promise.all(Array.from({ length: 8 }, () => open('a.txt')));
    for (const { ids } of all) assert.equal(ids.length, 19_001);
    assert.equal(cacheFiles().length, 2);
  });

  it('serves several processes that ask at once', async () => {
    put('a.txt', 'some text to cache '.repeat(20_000));
    const moduleUrl = (name: string): string => JSON.stringify(new URL(name, import.meta.url).href);
    const script = `
      const { openTokenCache } = await import(${moduleUrl('./token-cache.js')});
      const { loadTokenizer } = await import(${moduleUrl('./tokenizer/load-tokenizer.js')});
      const corpus = { files: ['a.txt'], textField: 'text', tokenizer: loadTokenizer('bytes', '/') };
      console.log((await openTokenCache(corpus, 'cache')).ids.length);
    `;
    const runs = Array.from({ length: 3 }, () =>
      promisify(execFile)(process.execPath, ['--input-type=module', '--eval', script], { cwd: root }),
    );
    for (const run of runs) assert.equal((await run).stdout, '380001\n');
    assert.equal(cacheFiles().length, 2);
  });

  it('is taken over at once from a builder that died', { timeout: 20_000 }, async () => {
    put('a.txt', 'some text to cache');
    await open('a.txt');
    const [bin = '', json = ''] = cacheFiles();
    const lock = join(root, 'cache', bin.replace('.bin', '.lock'));
    rmSync(join(root, 'cache', json));
    // No process has this id: it is past the largest that Linux gives.
    writeFileSync(lock, `4194305 ${hostname()}`);
    const past = new Date(Date.now() - 10_000);
    utimesSync(lock, past, past);
    assert.equal((await open('a.txt')).ids.length, 19);
    assert.deepEqual(cacheFiles(), [bin, json]);
  });

  it('leaves nothing behind when reading fails', async () => {
    put('a.jsonl', '{"text": "fine"}\n{"text": 5}\n');
    await assert.rejects(open('a.jsonl'), { code: 'DATA_INVALID' });
    assert.deepEqual(cacheFiles(), []);
  });
});

/** Writes a new file in the place of one that may be mapped. */
function replace(path: string, bytes: Uint8Array): void {
  const copy = Uint8Array.from(bytes);
  rmSync(path);
  writeFileSync(path, copy);
}
