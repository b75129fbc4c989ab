// Signals by name: signal(7).
import { constants } from 'node:os';

// Of two names for one number the first is the usual one: SIGABRT and not SIGIOT.
const NAMES = new Map(Object.entries(constants.signals).map(([name, number]): [number, string] => [number, name]).reverse());

/** `SIGKILL` for 9; a real-time signal, which has no name in Node, is `SIG40`. null for 0. */
export const signalName = (number: number): NodeJS.Signals | null => number === 0 ? null : (NAMES.get(number) ?? `SIG${number}`) as NodeJS.Signals;

/** The number of what `signalName` gives. */
export const numberOf = (name: NodeJS.Signals): number => constants.signals[name] ?? Number(name.slice(3));

/** Of how one has ended: what was asked for, where the launcher had to carry it out by SIGKILL. */
export const toldSignal = ({ signal, requestedSignal }: { signal: number; requestedSignal: number }): number =>
  signal === constants.signals.SIGKILL && requestedSignal !== 0 ? requestedSignal : signal;
