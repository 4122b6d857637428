/** Step programs as data: print them, simulate them, draw what was measured. */
export { bubbleFraction } from './bubble.js';
export type { Instruction } from './instruction.js';
export { printProgram, programToJson } from './print.js';
export type { Program } from './program.js';
export type { CostModel, Simulation } from './simulator/simulation.js';
export { simulate } from './simulator.js';
export { chromeTrace, measuredSlices } from './timeline.js';
