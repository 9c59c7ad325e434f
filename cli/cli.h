// Declarations that the subcommands of `lightcap` share.
#ifndef LIGHTCAP_CLI_CLI_H_
#define LIGHTCAP_CLI_CLI_H_

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

namespace lightcap::internal::cli {

// Each adds its subcommand to `app` and returns what to run if it is chosen; that returns an exit
// code or throws Error.
using Command = std::function<int()>;
Command add_caption(CLI::App& app);
Command add_bench(CLI::App& app);
Command add_inspect(CLI::App& app);

// --model, else $LIGHTCAP_MODEL, else the model that ships with the engine: scenes.lcw beside the
// program, in ../share/lightcap, where it is installed, or one folder up, where a build of several
// configurations has it. Throws Error(kModel) where there is none.
std::string find_model(const std::string& given);

}  // namespace lightcap::internal::cli

#endif  // LIGHTCAP_CLI_CLI_H_
