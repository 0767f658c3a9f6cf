// Where the threads of a team start. A team that is made for one call may find two of its threads on the same
// processor, and the system takes up to some 10 ms to part them: on two processors decode of 30 ms took half
// as long again.
#pragma once

namespace ms_nsa {

// The processor that runs the calling thread; -1 if unknown.
int CurrentProcessor();

// Moves a member of a small team, not its first, away from that processor to one of its own among those it
// may use. It is not bound there.
void LeaveProcessor(int processor, int member);

}  // namespace ms_nsa
