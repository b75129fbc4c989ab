// `contained probe` and `contained sweep`.
import { probe } from '../probe.js';
import { sweep } from '../sweep.js';
import type { Command } from './command.js';
import type { Flag } from './flag.js';
import { print, printJson } from './output.js';
import { waiting } from './progress.js';
import { probeTable, sweepJson, sweepList } from './words.js';

interface Given {
  json?: boolean;
}

const JSON_FLAG: Flag<Given> = { name: 'json', section: 'Flags', option: 'json', help: 'the report as an object', read: on => ({ json: on }) };

export const PROBE: Command<Given> = {
  usage: '', about: 'what this host can do', words: null, flags: [JSON_FLAG],
  more: 'For each thing that it cannot: cause and remedy.',
  after: 'Exit code: 0 when a full container can be started, else 1.',
  async act(_, { json = false }) {
    const report = await waiting('looking at the host', probe());
    if (json) printJson(report);
    else print(probeTable(report));
    return report.abilities.some(({ name, available }) => name === 'a full container' && available) ? 0 : 1;
  },
};

export const SWEEP: Command<Given> = {
  usage: '', about: 'remove what killed processes left behind', words: null, flags: [JSON_FLAG],
  more: 'That is the cgroups, and the processes in them, of processes of this library that were killed together with their launcher, and the names of their containers. What is still in use is left alone.',
  after: 'Exit code: 0, or 1 when something could not be removed.',
  async act(_, { json = false }) {
    const report = await waiting('sweeping', sweep());
    if (json) printJson(sweepJson(report));
    else print(sweepList(report));
    return report.failed.length === 0 ? 0 : 1;
  },
};
