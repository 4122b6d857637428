import type { OpenFile } from '../src/store/open-file.js';
import { MAXIMUM_HEADER_BYTES, readHeader } from '../src/store/safetensors/header.js';

const [start = '', unit = ''] = process.argv.slice(2);
let counter = 0;
let pending = Buffer.from(start);

const endless: OpenFile = {
  bytes: MAXIMUM_HEADER_BYTES + 8,
  read(target, position) {
    if (position === 0) {
      new DataView(target.buffer).setBigUint64(0, BigInt(MAXIMUM_HEADER_BYTES), true);
      target[8] = 0x7b;
      return target.byteLength;
    }
    while (pending.byteLength < target.byteLength) {
      const text: string[] = [];
      for (let index = 0; index < 1000; index += 1) {
        text.push(unit.replace('#', String(counter)));
        counter += 1;
      }
      pending = Buffer.concat([pending, Buffer.from(text.join(''))]);
    }
    target.set(pending.subarray(0, target.byteLength));
    pending = pending.subarray(target.byteLength);
    return target.byteLength;
  },
};

class Refused extends Error {}

const before = process.resourceUsage().maxRSS;
const begun = process.hrtime.bigint();
let rule = 'nothing';
try {
  readHeader(endless, (broken) => {
    throw new Refused(broken);
  });
} catch (error) {
  if (!(error instanceof Refused)) throw error;
  rule = error.message;
}
const extraBytes = (process.resourceUsage().maxRSS - before) * 1024;
const milliseconds = Number(process.hrtime.bigint() - begun) / 1e6;
process.stdout.write(JSON.stringify({ rule, extraBytes, milliseconds }));
