import type { ActiveCompression } from '../../comm/config.js';
import { type CompressedMessages, compressionName } from '../compressed-messages.js';
import type { Instruction } from '../instruction.js';
import { startName } from '../instruction-text.js';
import type { Program } from '../program.js';
import type { Collective, Made } from './effect-table.js';

/** Added to the name of a codec that is used between hosts alone. */
export const BETWEEN_HOSTS = ' between hosts';

/** Memory of a sum of so many elements over all ranks while it is under way. */
export function summedMessages(
  instruction: Instruction<'reduce'>,
  elements: number,
  program: Program,
  compressed: CompressedMessages | undefined,
): readonly Made[] {
  const { ordered = false, stages } = instruction;
  if (compressed !== undefined) return [compressedMessages(instruction, compressed)];
  if (ordered) return [arrivingMessages(instruction, elements, program)];
  if (stages === undefined) return [];
  const { memory, value } = messagesOf(instruction, stages.elements * program.bytesPerElement, 'messages');
  return [{ value, ...(memory && { memory: { ...memory, held: stages.held } }) }];
}

/** What the other ranks send of their part of so many elements, of which this rank sums its slice. */
export function arrivingMessages(
  instruction: Instruction<'reduce' | 'scatter'>,
  elements: number,
  { groups, bytesPerElement, readsInPlace = false }: Program,
): Made {
  const ranks = groups.data.length;
  const bytes = readsInPlace ? 0 : (ranks - 1) * Math.ceil(elements / ranks) * bytesPerElement;
  return messagesOf(instruction, bytes, 'messages');
}

/** Memory of a compressed reduction that is under way. */
export function compressedMessages(
  instruction: Instruction<'reduce' | 'scatter' | 'sum'>,
  { memoryBytes, stages }: CompressedMessages,
): Made {
  const { value, memory } = messagesOf(instruction, memoryBytes);
  return { value, ...(memory && { memory: { ...memory, ...(stages && { stages }) } }) };
}

/** Memory of an exchange that is under way. */
export function messagesOf(
  instruction: Instruction<'complete' | 'reduce' | 'scatter' | 'sum' | 'gather'>,
  bytes: number,
  pool?: 'messages',
): Made {
  return {
    value: `messages of ${startName(instruction)}`,
    memory: { account: 'buckets', bytes, ...(pool && { pool }) },
  };
}

export function onTheWire(
  compression: ActiveCompression,
  { bytes, sentBytes }: CompressedMessages,
  betweenHosts = false,
): Pick<Collective, 'bytes' | 'sentBytes' | 'codec'> {
  const codec = compressionName(compression);
  return { bytes, sentBytes, codec: betweenHosts ? `${codec}${BETWEEN_HOSTS}` : codec };
}
