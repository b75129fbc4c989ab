// Requests to the launcher, and what it says to the handle that waits for it.
import { native, type NativeExit } from './native.js';

/** Who is told of a launched program. */
export interface LaunchListener {
  onReady(pid: number, trace: Buffer | undefined): void;
  onExit(pid: number, exit: NativeExit): void;
}

interface Live {
  listener: LaunchListener;
  ref: boolean;
}

const live = new Map<number, Live>();
let refs = 0;
let listening = false;

function hear(id: number, pid: number, trace: Buffer | undefined, exit: NativeExit | undefined): void {
  const entry = live.get(id);
  if (!entry) return;
  if (!exit) return entry.listener.onReady(pid, trace);
  setRef(id, false);
  live.delete(id);
  entry.listener.onExit(pid, exit);
}

/** Whether the container `id` keeps Node running. */
export function setRef(id: number, ref: boolean): void {
  const entry = live.get(id);
  if (!entry || entry.ref === ref) return;
  entry.ref = ref;
  refs += ref ? 1 : -1;
  if (ref && refs === 1) native().ref();
  if (!ref && refs === 0) native().unref();
}

/** `fds` become the first slots; an owned one is closed once it is sent, ~fd stays the caller's. Returns the id. */
export function launch(request: ArrayBuffer, size: number, fds: readonly number[], listener: LaunchListener): number {
  if (!listening) {
    native().listen(hear);
    listening = true;
  }
  const id = native().spawn(request, size, fds);
  live.set(id, { listener, ref: false });
  setRef(id, true);
  return id;
}
