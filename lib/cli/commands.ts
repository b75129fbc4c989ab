// The table of all commands.
import { CGROUP } from './cgroup.js';
import { PAUSE, RESUME, UPDATE } from './change.js';
import type { Command, Family } from './command.js';
import { completionOf, SHELLS, type Shell } from './completion.js';
import { find } from './dispatch.js';
import { EVENTS } from './events.js';
import { EXEC } from './exec.js';
import { helpOf } from './help.js';
import { PROBE, SWEEP } from './host.js';
import { INSPECT } from './inspect.js';
import { LOGS } from './logs.js';
import { NS } from './ns.js';
import { print } from './output.js';
import { PS } from './ps.js';
import { EXPLAIN, RUN } from './run.js';
import { STATS } from './stats.js';
import { KILL, REMOVE, STOP, WAIT } from './stop.js';
import { TOP } from './top.js';
import { UsageError } from './values.js';
import { didYouMean } from '../options/check.js';

const HELP: Command<object> = {
  usage: '[COMMAND...]', about: 'help on one of these', words: ['commands'], flags: [],
  async act(words) {
    const { entry, path } = find(TABLE, words);
    print(helpOf(entry, path));
    return await Promise.resolve(0);
  },
};

const COMPLETION: Command<object> = {
  usage: SHELLS.join('|'), about: 'a script by which a shell completes all this', words: [SHELLS], flags: [],
  more: 'For bash: put its output into ~/.local/share/bash-completion/completions/contained. For zsh: into _contained in a directory of $fpath.',
  examples: ['source <(contained completion bash)', 'contained completion zsh > ~/.zfunc/_contained'],
  async act([word, more]) {
    if (word === undefined || more !== undefined) throw new UsageError(`one shell, of ${SHELLS.join(', ')}`);
    if (!(SHELLS as readonly string[]).includes(word)) throw new UsageError(`expected one of ${SHELLS.join(', ')}, got ${JSON.stringify(word)}${didYouMean(word, SHELLS)}`);
    print(completionOf(TABLE, word as Shell));
    return await Promise.resolve(0);
  },
};

export const TABLE: Family = {
  about: 'Runs commands in Linux containers: no daemon, no images needed, and nothing left behind.',
  more: 'For the flags of one see `contained help COMMAND`, or `contained COMMAND --help`; `contained --version` tells the version.',
  examples: [`contained run -- sh -c 'id; ps; mount'`],
  groups: {
    'To run': { run: RUN, exec: EXEC, explain: EXPLAIN },
    'To look': { ps: PS, top: TOP, stats: STATS, logs: LOGS, events: EVENTS, inspect: INSPECT, wait: WAIT },
    'To act': { pause: PAUSE, resume: RESUME, update: UPDATE, kill: KILL, stop: STOP, rm: REMOVE },
    'The host': { cgroup: CGROUP, ns: NS, probe: PROBE, sweep: SWEEP },
    'This program': { help: HELP, completion: COMPLETION },
  },
};
