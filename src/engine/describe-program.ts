import { ALGORITHM_NAMES, ALGORITHMS } from '../comm/algorithm.js';
import { axisRanks, meshOf } from '../comm/mesh.js';
import { SingleGroup } from '../comm/process-group/single.js';
import type { StagesOf } from '../comm/process-group.js';
import { reductionStages } from '../comm/reduction-stages.js';
import { hostsAmong, hostsOf, hostsOfSize } from '../comm/topology.js';
import { planFlatLayout } from '../nn/flat-layout.js';
import { precisionOf } from '../precision/config.js';
import { printProgram, printReport, programToJson } from '../step/print.js';
import { exchangesOf } from './block-exchanges.js';
import {
  type CompiledStep,
  compileStep,
  defaultSequenceLength,
  type StepToCompile,
  tryBlocks,
} from './compile-step.js';
import { loadConfig, type ResolvedConfig } from './config.js';
import { dataRanks } from './data-ranks.js';
import { loneAxis } from './group-axis.js';
import { severalEqualHosts } from './hosts.js';
import { localModel } from './local-model.js';
import { openModel } from './model-source.js';
import { stageCosts } from './stage-costs.js';
import { planStages } from './stage-plan.js';
import { knownTurns } from './step-turn.js';

export interface DescribeOptions {
  readonly configPath: string;
  /** As given to `--set`. */
  readonly overrides: readonly string[];
  readonly worldSize: number;
  /** Left out: every rank. */
  readonly rank?: number;
}

/** Step programs with what their check found out, for people and for programs. */
export interface ProgramDescription {
  readonly text: string;
  readonly json: readonly object[];
}

/**
 * The step programs that a configuration compiles to, all ranks checked together; of replicas that meet now and then, those
 * of the steps between and of the steps in which they meet. Reads no weights and no
 * data, and starts nothing.
 *
 * @throws TrainyardError for a wrong configuration or model, PROGRAM_INVALID for a program that cannot run.
 */
export function describeProgram(options: DescribeOptions): ProgramDescription {
  const { rank } = options;
  const compiled = compileDescribed(options);
  const programs = compiled.flatMap((each) => each.programs);
  const reports = compiled.flatMap((each) => each.reports);
  const described = programs.flatMap((program, index) => {
    const report = reports[index];
    if (report === undefined || (rank !== undefined && rank !== program.rank)) return [];
    return [
      {
        text: `${printProgram(program)}\n\n${printReport(program, report)}`,
        json: { ...programToJson(program), check: report },
      },
    ];
  });
  return {
    text: described.map(({ text }) => text).join('\n\n'),
    json: described.map(({ json }) => json),
  };
}

/** The programs of every kind of step of a run, checked. */
export function compileDescribed({
  configPath,
  overrides,
  worldSize,
}: DescribeOptions): readonly CompiledStep[] {
  const { config } = loadConfig(configPath, overrides, { worldSize, requires: ['model'] });
  const { tensor, sequence_parallel: sequence } = config.mesh;
  const source = openModel(config);
  const model = localModel(source, config, tensor === 1 ? undefined : loneAxis(tensor, sequence));
  const { topology } = config.communication;
  // Those of the first rank stand for all.
  const place = axisRanks(meshOf(config.mesh, worldSize), 0, 'data');
  const hosts = topology && severalEqualHosts(hostsAmong(hostsOf(topology, worldSize), place));
  const sequenceLength = config.data?.sequence_length ?? defaultSequenceLength(model);
  const costs = stageCosts(new SingleGroup(), { config, model, sequenceLength });
  const stages = planStages({ config, model, costs });
  const step: StepToCompile = {
    config,
    model,
    layout: planFlatLayout(model.blocks, undefined, dataRanks(config)),
    stages,
    exchanges: exchangesOf(source, config, precisionOf(config).dtype),
    goal: 'update',
    // As it will be where the ranks are on one host, which a description cannot know.
    readsInPlace: mayShareMemory(config, worldSize),
    stagesOf: namedStages(config, worldSize),
    ...(hosts && { hosts }),
    sequenceLength,
  };
  const tried = tryBlocks(step);
  return knownTurns(config).map((turn) => compileStep({ ...step, ...turn, tried }));
}

/** How sums are made where the algorithm is named; which one "auto" takes between hosts, only ranks can find out. */
function namedStages(
  { communication, device, mesh }: ResolvedConfig,
  worldSize: number,
): StagesOf | undefined {
  const { algorithm, topology } = communication;
  const named = ALGORITHM_NAMES.find((name) => name === algorithm);
  const all = topology === undefined ? hostsOfSize(worldSize, worldSize) : hostsOf(topology, worldSize);
  // Those of the first rank stand for all.
  const hosts = hostsAmong(all, axisRanks(meshOf(mesh, worldSize), 0, 'data'));
  if (named === undefined || device !== 'cpu' || ALGORITHMS[named].refuses(hosts) !== undefined)
    return undefined;
  return reductionStages(() => named, hosts, true);
}

/** Whether all ranks exchange in memory that they share, if they can. */
function mayShareMemory({ communication, device }: ResolvedConfig, worldSize: number): boolean {
  const { algorithm, topology } = communication;
  const isOneHost = topology === undefined || hostsOf(topology, worldSize).length === 1;
  return (algorithm === 'auto' || algorithm === 'shared-memory') && isOneHost && device === 'cpu';
}
