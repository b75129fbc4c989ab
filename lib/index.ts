export { spawnContained, explain } from './spawn.js';
export { ContainedError, OptionError } from './errors.js';
export type * from '../types/options.js';
export type * from '../types/contained.js';
export type * from '../types/program.js';
