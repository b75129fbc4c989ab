// `contained pause`, `resume` and `update`.
import type { Command } from './command.js';
import { LIMIT_FLAGS, LIMITS_REFUSED, withSwap, type Limited } from './limits.js';
import { waiting } from './progress.js';
import { each, findRunning, ID } from './targets.js';
import { UsageError } from './values.js';

export const PAUSE: Command<object> = {
  usage: 'NAME...', about: 'stop everything in containers', words: ['running'], options: ID, flags: [],
  more: 'It needs a cgroup of the container; see `contained probe` where there is none.',
  act: async words => await each(words, async id => await waiting(`waiting for ${id} to stand still`, (await findRunning(id, 'pause')).child.pause())),
};

export const RESUME: Command<object> = {
  usage: 'NAME...', about: 'let them go on', aliases: ['unpause'], words: ['running'], options: ID, flags: [],
  act: async words => await each(words, async id => await waiting(`waiting for ${id} to go on`, (await findRunning(id, 'resume')).child.resume())),
};

export const UPDATE: Command<Limited> = {
  usage: 'LIMITS NAME...', about: 'change limits of containers while they are in force', words: ['running'], options: ID,
  more: 'When one cannot be set, those before it are put back.',
  examples: ['contained update --memory 512M --cpus 2 web'],
  flags: LIMIT_FLAGS, refused: LIMITS_REFUSED,
  async act(words, given) {
    const { cgroup } = withSwap(given);
    if (cgroup === undefined) throw new UsageError('no limit given, as in `contained update --memory 1G NAME`');
    return await each(words, async id => await (await findRunning(id, 'change the limits of')).child.update(cgroup));
  },
};
