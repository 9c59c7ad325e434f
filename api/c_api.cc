// The C face of models and sessions, and of what has no handle; captions have a file of their own.
#include <cstdio>
#include <cstring>

#include "api/handles.h"
#include "api/log_target.h"
#include "api/versioned_struct.h"
#include "engine/runtime/host_executor.h"
#include "kernels/dispatch.h"

lightcap_session::lightcap_session(std::shared_ptr<const lightcap::internal::Model> model,
                                   const lightcap::internal::SessionOptions& options)
    : session(std::move(model), options) {
  concepts.reserve(session.model().config().detector.max_proposals);
  hypotheses.reserve(session.max_beams());
  embedding.resize(session.model().config().image_encoder.channels());
  partial_text.reserve(session.captioner().room_for_text());
}

namespace lightcap::internal {
namespace {

// A fixed buffer: reporting that memory ran out must not need any.
thread_local char last_error[4096] = "";

}  // namespace

lightcap_status fail(ErrorCode code, const char* message) {
  std::snprintf(last_error, sizeof last_error, "%s", message);
  return static_cast<lightcap_status>(code);
}

namespace {

LogTarget log_target;

void log(int level, const std::string& message) {
  const LogTarget::Target to = log_target.get();
  if (to.function == nullptr) return;
  call_host("the log function", [&] { to.function(to.context, level, message.c_str()); });
}

SessionOptions session_options(const lightcap_session_options& given) {
  if (given.threads < 0 || given.threads > kMaxThreads) {
    usage("threads is " + std::to_string(given.threads) + ", expected 1 to " +
          std::to_string(kMaxThreads) + ", or 0 for one a core");
  }
  if (given.max_beams < 1 || given.max_beams > static_cast<int>(kMaxBeams)) {
    usage("max_beams is " + std::to_string(given.max_beams) + ", expected 1 to " +
          std::to_string(kMaxBeams));
  }
  SessionOptions options;
  options.kernels = &choose_kernels(given.isa);
  options.threads = given.threads == 0 ? default_threads() : given.threads;
  options.max_beams = static_cast<size_t>(given.max_beams);
  if (given.max_states > kMaxConstraintStates) {
    usage("max_states is " + std::to_string(given.max_states) + ", expected 0 to " +
          std::to_string(kMaxConstraintStates));
  }
  options.max_states = given.max_states;
  options.low_memory = given.low_memory != 0;
  if (given.executor != nullptr) {
    if (given.executor->parallel_for == nullptr) usage("executor.parallel_for is NULL");
    options.executor = {given.executor->context, given.executor->parallel_for};
  }
  return options;
}

constexpr lightcap_model_options kModelDefaults = LIGHTCAP_MODEL_OPTIONS_INIT;
constexpr lightcap_session_options kSessionDefaults = LIGHTCAP_SESSION_OPTIONS_INIT;
}  // namespace
}  // namespace lightcap::internal

using namespace lightcap::internal;

const char* lightcap_version(void) { return LIGHTCAP_VERSION; }

const char* lightcap_last_error(void) { return last_error; }

const char* lightcap_isa_name(size_t index) {
  return index < isa_count() ? isa_at(index).name : nullptr;
}

int lightcap_isa_supported(const char* name) {
  return name != nullptr && find_kernels(name) != nullptr;
}

void lightcap_set_log(lightcap_log_function function, void* context) {
  log_target.set({function, context});
}

lightcap_status lightcap_model_open(const char* path, const lightcap_model_options* options,
                                    lightcap_model** model) {
  return guarded([&] {
    required(path, "path");
    required(model, "model") = nullptr;
    const lightcap_model_options given = options_or(options, kModelDefaults);
    WeightsFile file =
        WeightsFile::open(path, given.read_into_memory != 0 ? FileAccess::kRead : FileAccess::kMap);
    *model = new lightcap_model{std::make_shared<const Model>(std::move(file))};
  });
}

lightcap_status lightcap_model_open_buffer(const void* data, size_t size,
                                           const lightcap_model_options* options,
                                           lightcap_model** model) {
  return guarded([&] {
    required(model, "model") = nullptr;
    required(static_cast<const char*>(data), "data");
    options_or(options, kModelDefaults);
    WeightsFile file =
        WeightsFile::from_buffer({static_cast<const uint8_t*>(data), size}, "model buffer");
    *model = new lightcap_model{std::make_shared<const Model>(std::move(file))};
  });
}

lightcap_status lightcap_model_open_fd(int fd, uint64_t offset, uint64_t size,
                                       const lightcap_model_options* options,
                                       lightcap_model** model) {
  return guarded([&] {
    required(model, "model") = nullptr;
    const lightcap_model_options given = options_or(options, kModelDefaults);
    if (fd < 0) usage("fd is " + std::to_string(fd));
    WeightsFile file = WeightsFile::open_part(
        fd, offset, size, given.read_into_memory != 0 ? FileAccess::kRead : FileAccess::kMap);
    *model = new lightcap_model{std::make_shared<const Model>(std::move(file))};
  });
}

void lightcap_model_close(lightcap_model* model) { delete model; }

lightcap_status lightcap_session_open(const lightcap_model* model,
                                      const lightcap_session_options* options,
                                      lightcap_session** session) {
  return guarded([&] {
    required(session, "session") = nullptr;
    const SessionOptions given = session_options(options_or(options, kSessionDefaults));
    auto opened = std::make_unique<lightcap_session>(required(model, "model").model, given);
    const int threads = opened->session.threads();
    if (threads < given.threads) {
      log(1, "only " + std::to_string(threads) + " of " + std::to_string(given.threads) +
                 " threads could be started (" + std::strerror(opened->session.thread_error()) +
                 "): captions take longer; see the limits on processes (ulimit -u, pids.max)");
    }
    log(0, std::string("using the ") + given.kernels->isa + " kernels on " +
               std::to_string(threads) + " threads, " +
               std::to_string(opened->session.peak_bytes() >> 20) + " MiB at most");
    *session = opened.release();
  });
}

void lightcap_session_close(lightcap_session* session) { delete session; }

const char* lightcap_session_isa(const lightcap_session* session) {
  return session == nullptr ? "" : session->session.kernels().isa;
}

int lightcap_session_threads(const lightcap_session* session) {
  return session == nullptr ? 0 : session->session.threads();
}

size_t lightcap_session_peak_bytes(const lightcap_session* session) {
  return session == nullptr ? 0 : session->session.peak_bytes();
}

int lightcap_default_threads(void) {
  try {
    return default_threads();
  } catch (...) {  // no memory to read the quota
    return 1;
  }
}

lightcap_status lightcap_cancel_open(lightcap_cancel** flag) {
  return guarded([&] {
    required(flag, "flag") = nullptr;
    *flag = new lightcap_cancel;
  });
}

void lightcap_cancel_set(lightcap_cancel* flag, int raised) {
  if (flag != nullptr) flag->raised.store(raised);
}

void lightcap_cancel_close(lightcap_cancel* flag) { delete flag; }

lightcap_status lightcap_constraints_open(const lightcap_model* model,
                                          lightcap_constraints** constraints) {
  return guarded([&] {
    required(constraints, "constraints") = nullptr;
    *constraints = new lightcap_constraints{RequiredWords(required(model, "model").model)};
  });
}

lightcap_status lightcap_constraints_add(lightcap_constraints* constraints,
                                         const char* const* forms, size_t count) {
  return guarded([&] {
    required(constraints, "constraints");
    if (count < 1 || count > kMaxForms) {
      usage("count is " + std::to_string(count) + ", expected 1 to " + std::to_string(kMaxForms));
    }
    required(forms, "forms");
    std::vector<std::string> texts;
    for (size_t i = 0; i < count; ++i) texts.emplace_back(&required(forms[i], "a form"));
    constraints->words.add(std::move(texts));
  });
}

size_t lightcap_constraints_states(const lightcap_constraints* constraints) {
  return constraints == nullptr ? 0 : constraints->words.constraints().states();
}

const char* lightcap_constraints_found(const lightcap_constraints* constraints, size_t index,
                                       const uint32_t* tokens, size_t token_count) {
  if (constraints == nullptr || tokens == nullptr) return nullptr;
  if (index >= constraints->words.constraints().count()) return nullptr;
  const std::string* form = constraints->words.find(index, {tokens, token_count});
  return form == nullptr ? nullptr : form->c_str();
}

void lightcap_constraints_close(lightcap_constraints* constraints) { delete constraints; }

void lightcap_session_set_stage(lightcap_session* session, lightcap_stage_function stage,
                                void* context) {
  if (session != nullptr) session->stage = {stage, context};
}

void lightcap_session_set_trace(lightcap_session* session, lightcap_trace_function trace,
                                void* context) {
  if (session == nullptr) return;
  if (trace == nullptr) {
    session->trace = {};
    return;
  }
  session->trace = [=](const char* name, const float* data, std::initializer_list<size_t> dims) {
    call_host("the trace function", [&] { trace(context, name, data, dims.begin(), dims.size()); });
  };
}
