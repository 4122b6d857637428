import type { ErrorCode } from '../src/base/error-codes.js';

/** What each rank does; ranks that are not mentioned train to the end. */
export interface RankScript {
  readonly [rank: string]:
    | 'train'
    | 'train-for-ever'
    | 'throw'
    | 'reject'
    | 'exit-3'
    | 'kill'
    | 'segfault'
    | 'stubborn'
    | 'blocked'
    | 'no-frame'
    | 'flood'
    | 'garbage'
    | 'orphan'
    | `error-${ErrorCode}`;
}

/** Where ranks leave their process ids and saves for the test to look at. */
export const FOLDER_VARIABLE = 'TRAINYARD_TEST_FOLDER';
