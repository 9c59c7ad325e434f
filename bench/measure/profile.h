// The cost of each layer: time, arithmetic, memory.
#ifndef LIGHTCAP_BENCH_MEASURE_PROFILE_H_
#define LIGHTCAP_BENCH_MEASURE_PROFILE_H_

#include <atomic>
#include <chrono>
#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <unordered_map>
#include <vector>

#include "bench/measure/peaks.h"
#include "engine/runtime/observer.h"

namespace lightcap::internal::bench {

using Clock = std::chrono::steady_clock;

// Layers in the order in which the graph first runs them. Those that run again with the same shape,
// from decoding step to decoding step, are one; so are equal ones without weights in a row.
class Profile final : public Observer {
 public:
  explicit Profile(int threads) : tasks_(static_cast<size_t>(threads)) {}

  // Runs and times a stage. Layers are recorded within stages only, tasks only while tracing.
  template <class F>
  void stage(const char* name, F&& run) {
    begin_stage(name);
    run();
    end_stage();
  }
  void trace(bool on) { tracing_ = on; }

  void begin(const LayerWork& work) override;
  void end() override;
  void task_begin() override;
  void task_end() override;

  // {"layers": [...], "stages": [...]}, times in microseconds.
  nlohmann::ordered_json report(const Peaks& peaks) const;
  // In Chrome's trace event format: a row a thread; stages, their layers and their tasks nested.
  nlohmann::ordered_json chrome_trace() const;

 private:
  struct Layer {
    size_t stage;
    std::string name, kernel;
    LayerWork work;
    std::vector<double> us;
    double macs = 0, bytes = 0;  // of all calls
  };
  struct Stage {
    std::string name;
    std::vector<double> us;
  };
  static constexpr size_t kNoLayer = static_cast<size_t>(-1);  // tasks between layers
  struct Event {
    size_t index;  // of its layer or stage
    double begin, us;
  };

  void begin_stage(const char* name);
  void end_stage();
  size_t find_layer(const LayerWork& work);
  double now() const;
  size_t thread_row();
  nlohmann::ordered_json layer_report(const Layer& layer, const Peaks& peaks) const;
  nlohmann::ordered_json stage_report(size_t stage, const Peaks& peaks) const;

  const Clock::time_point start_ = Clock::now();
  bool recording_ = false, tracing_ = false;
  std::vector<Layer> layers_;
  std::vector<Stage> stages_;
  std::unordered_map<std::string, size_t> layer_at_;
  std::string previous_;                 // the last layer with weights
  size_t stage_ = 0, layer_ = kNoLayer;  // under way
  double stage_begin_ = 0, layer_begin_ = 0;
  std::vector<Event> layer_events_, stage_events_;
  std::vector<std::vector<Event>> tasks_;  // by thread
  std::atomic<size_t> threads_seen_{0};
};

// As a table.
void print_profile(const nlohmann::ordered_json& report);

}  // namespace lightcap::internal::bench

#endif  // LIGHTCAP_BENCH_MEASURE_PROFILE_H_
