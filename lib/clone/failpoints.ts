/**
 * The moments of a VM's life at which its owner may die, in order. Each is named where the code reaches it, so that tests can
 * end or break the owner exactly there: whatever happens at one of them, reopening the state directory puts things right.
 */
export const FAILPOINTS = [
  // Launching a clone.
  "launch.intended",
  "launch.folders",
  "launch.overlay",
  "launch.spawned",
  "launch.connected",
  "launch.loaded",
  // Keeping it ready.
  "dock.running",
  "dock.personalised",
  "dock.warmed",
  "dock.paused",
  "dock.recorded",
  // Claiming, whether docked or launched for it.
  "claim.held",
  "claim.intended",
  "claim.added",
  "claim.running",
  "claim.personalised",
  "claim.verified",
  "claim.resized",
  "claim.provisioned",
  "claim.linked",
  "claim.ran",
  "claim.made",
  "claim.handed-over",
  // Taking back what a failed claim had begun.
  "undo.ended",
  "undo.forgotten",
  // A VM's later life.
  "park.intended",
  "park.paused",
  "resume.intended",
  "resume.running",
  "resume.verified",
  "extend.recorded",
  "shrink.unplugged",
  "fork.intended",
  "fork.prepared",
  "fork.split",
  "fork.captured",
  // Making its disk flat again, in the background.
  "flatten.begun",
  "flatten.copied",
  "flatten.detached",
  "flatten.recorded",
  "release.intended",
  "release.ended",
  "release.forgotten",
  // Recovery itself may be interrupted.
  "recover.listed",
  "recover.adopted",
  "recover.ended",
  "recover.forgotten",
  "gc.listed",
  "gc.ended",
] as const;
export type Failpoint = (typeof FAILPOINTS)[number];

/** Called when a failpoint is reached. What it throws is thrown there. */
export type OnFailpoint = (name: Failpoint) => void;
