import { TrainyardError } from '../../base/errors.js';
import { quote } from '../../base/printable.js';
import { isTemporaryName, replacedName } from '../durable.js';

const TAG = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

/** The file beside the checkpoints that names the last one, for people and other programs. */
export const LATEST_FILE = 'latest';

/** Whether a text may name a checkpoint. A tag is a folder's name: it can lead nowhere else. */
export function isTag(text: string): boolean {
  const isReserved = text === LATEST_FILE || isTemporaryName(text) || replacedName(text) !== undefined;
  return TAG.test(text) && !isReserved;
}

/** @throws TrainyardError CHECKPOINT_INVALID */
export function checkTag(text: string): string {
  if (isTag(text)) return text;
  throw new TrainyardError('CHECKPOINT_INVALID', {
    what: 'A checkpoint cannot have this name.',
    expected: `a name like step-100, matching ${TAG.source}, other than "${LATEST_FILE}"`,
    got: quote(text),
  });
}

/** The name of the checkpoint after a step. */
export function tagOfStep(step: number): string {
  return `step-${step}`;
}
