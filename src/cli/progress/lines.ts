import { printable } from '../../base/printable.js';
import type { CheckpointEvent, EndEvent, RestartEvent, StartEvent, StepEvent } from '../../launch/events.js';
import { formatBytes, formatCount, formatDuration, formatRanks, formatRate, formatValue } from '../format.js';
import { ledgerLines } from './ledger-lines.js';
import { type Progress, secondsLeft, tokensPerSecond } from './progress.js';
import { sparkline } from './sparkline.js';

/** Styles for parts of the live line; plain text where colours are unwanted. */
export interface Palette {
  readonly strong: (text: string) => string;
  readonly faint: (text: string) => string;
  readonly curve: (text: string) => string;
}

export const NO_COLORS: Palette = { strong: (text) => text, faint: (text) => text, curve: (text) => text };

export const COLORS: Palette = {
  strong: (text) => `\u001b[1m${text}\u001b[22m`,
  faint: (text) => `\u001b[2m${text}\u001b[22m`,
  curve: (text) => `\u001b[36m${text}\u001b[39m`,
};

/** What is about to be trained, in one line. */
export function startLine(start: StartEvent): string {
  const steps = start.steps - start.first_step + 1;
  const tokens =
    start.tokens_per_step === undefined ? '' : ` of ${formatCount(start.tokens_per_step)} tokens`;
  const from = start.first_step === 1 ? '' : `, continuing at step ${start.first_step}`;
  const ranks = formatRanks(start.world_size);
  const whole =
    start.frozen_parameters === undefined
      ? ''
      : ` of ${formatCount(start.parameters + start.frozen_parameters)}`;
  return `training ${formatCount(start.parameters)}${whole} parameters on ${ranks} (${start.device}): ${steps} steps${tokens}${from}`;
}

/** A checkpoint that is there for good, with what it took. */
export function checkpointLine({ step, path, bytes, stall_ms, total_ms }: CheckpointEvent): string {
  const times = `${Math.round(total_ms)} ms, of which training waited ${Math.round(stall_ms)} ms`;
  return `checkpoint after step ${step}: ${printable(path)}, ${formatBytes(bytes)} in ${times}`;
}

/** Why the ranks start again, and from where. */
export function restartLine({ attempt, world_size, step, reason }: RestartEvent): string {
  const from = step === 0 ? 'from the beginning: nothing is saved yet' : `after step ${step}`;
  return `restart ${attempt} with ${formatRanks(world_size)} ${from} (${printable(reason)})`;
}

/** One step as a line of a log. */
export function plainLine(progress: Progress): string {
  const { last } = progress;
  if (last === undefined) return 'loading';
  return stepFields(progress, last)
    .map(({ text }) => text)
    .join('  ');
}

const WIDEST_CURVE = 40;
const NARROWEST_CURVE = 8;
const GAP = 2;

/**
 * One step as a line that is drawn over: never wider than `width` columns. What matters least goes first
 * when there is too little room; the loss curve takes the room that is left.
 */
export function liveLine(progress: Progress, width: number, palette: Palette): string {
  const { last } = progress;
  if (last === undefined) return fit(progress.start === undefined ? 'loading …' : 'first step …', width);
  const fields = fieldsThatFit(stepFields(progress, last), width);
  const used = fields.reduce((sum, { text }) => sum + text.length + GAP, 0);
  const room = Math.min(WIDEST_CURVE, width - used);
  const curve = room < NARROWEST_CURVE ? [] : [palette.curve(sparkline(progress.losses, room))];
  const [first, ...others] = fields.map((field) => palette[field.style](field.text));
  return [...(first === undefined ? [] : [first]), ...others.slice(0, 1), ...curve, ...others.slice(1)].join(
    '  ',
  );
}

/** How the run went, and what took its memory; nothing while it goes on. */
export function endLines({ end }: Progress, seconds: number): readonly string[] {
  return end === undefined ? [] : [endLine(end, seconds), ...ledgerLines(end)];
}

function endLine(end: EndEvent, seconds: number): string {
  const memory = end.peak_memory_bytes.map(formatBytes).join(' + ');
  return [
    `${end.stopped === true ? 'stopped after' : 'done:'} ${end.steps} steps in ${formatDuration(seconds)}`,
    `loss ${formatValue(end.loss)}`,
    ...(memory === '' ? [] : [`peak memory ${memory}`]),
    ...(end.output === undefined ? [] : [`written to ${printable(end.output)}`]),
  ].join(', ');
}

interface Field {
  readonly text: string;
  readonly style: keyof Palette;
  /** Larger goes first when the line is too long. */
  readonly dispensable: number;
}

function stepFields(progress: Progress, last: StepEvent): readonly Field[] {
  const rate = tokensPerSecond(progress);
  const left = secondsLeft(progress);
  const total = progress.start === undefined ? '' : `/${progress.start.steps}`;
  const fields: readonly (Field | undefined)[] = [
    { text: `step ${last.step}${total}`, style: 'strong', dispensable: 0 },
    { text: `loss ${formatValue(last.loss)}`, style: 'strong', dispensable: 0 },
    last.skipped ? { text: 'skipped', style: 'strong', dispensable: 1 } : undefined,
    { text: `lr ${formatRate(last.learning_rate)}`, style: 'faint', dispensable: 4 },
    { text: `grad ${formatValue(last.grad_norm)}`, style: 'faint', dispensable: 5 },
    progress.drift === undefined
      ? undefined
      : { text: `drift ${formatValue(progress.drift)}`, style: 'faint', dispensable: 4 },
    rate === undefined
      ? undefined
      : { text: `${formatCount(rate)} tokens/s`, style: 'faint', dispensable: 2 },
    last.memory_bytes === undefined
      ? undefined
      : { text: formatBytes(last.memory_bytes), style: 'faint', dispensable: 6 },
    progress.isStopping
      ? { text: 'stopping', style: 'strong', dispensable: 1 }
      : left === undefined
        ? undefined
        : { text: `${formatDuration(left)} left`, style: 'faint', dispensable: 3 },
  ];
  return fields.filter((field) => field !== undefined);
}

function fieldsThatFit(fields: readonly Field[], width: number): readonly Field[] {
  const needed = fields.reduce((sum, { text }) => sum + text.length + GAP, -GAP);
  if (needed <= width) return fields;
  const worst = Math.max(...fields.map(({ dispensable }) => dispensable));
  const [only] = fields;
  if (worst === 0) return only === undefined ? [] : [{ ...only, text: fit(only.text, width) }];
  return fieldsThatFit(
    fields.filter(({ dispensable }) => dispensable !== worst),
    width,
  );
}

function fit(text: string, width: number): string {
  return text.slice(0, Math.max(0, width));
}
