// Signals that end the program before it is done.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_SIGNALS_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_SIGNALS_H_

namespace lightcap::internal {

// For the program alone, before anything else:
// - SIGINT, SIGTERM and SIGHUP end it at once, as they would without this, but unfinished files are
//   removed first; one that was ignored stays so.
// - SIGBUS, which reading a mapped file that became shorter raises, is an error of its own.
// - Memory that runs out where no exception may leave ends it as it does elsewhere.
void handle_signals();

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_SIGNALS_H_
