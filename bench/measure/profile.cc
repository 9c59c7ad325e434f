#include "bench/measure/profile.h"

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "bench/measure/median.h"

namespace lightcap::internal::bench {
namespace {

using nlohmann::ordered_json;

// "112x112x64 -> 64 k3 s1", "69x312 -> 1200"
std::string shape_text(const ordered_json& layer) {
  std::string text = std::to_string(layer["height"].get<size_t>());
  const auto append = [&](const char* before, const char* key) {
    (text += before) += std::to_string(layer[key].get<size_t>());
  };
  if (layer["width"] != 1) append("x", "width");
  append("x", "channels");
  append(" -> ", "out");
  if (layer["kernel_size"] != 1) append(" k", "kernel_size");
  if (layer["stride"] != 1) append(" s", "stride");
  return text;
}

template <class... Values>
std::string format(const char* pattern, Values... values) {
  char text[256];
  std::snprintf(text, sizeof text, pattern, values...);
  return text;
}

std::string text_of(const ordered_json& value) { return value.get<std::string>(); }
double number_of(const ordered_json& value) { return value.get<double>(); }

constexpr const char* kRow = "%-48s %-16s %-26s %6s %10s %8s %6s %7s\n";

// One of Chrome's "complete" events, in microseconds.
ordered_json chrome_event(const std::string& name, const char* category, size_t row, double begin,
                          double us) {
  return {{"name", name}, {"cat", category}, {"ph", "X"}, {"ts", begin},
          {"dur", us},    {"pid", 1},        {"tid", row}};
}

}  // namespace

double Profile::now() const {
  return std::chrono::duration<double, std::micro>(Clock::now() - start_).count();
}

void Profile::begin_stage(const char* name) {
  const auto known =
      std::find_if(stages_.begin(), stages_.end(), [&](const Stage& s) { return s.name == name; });
  stage_ = static_cast<size_t>(known - stages_.begin());
  if (known == stages_.end()) stages_.push_back({name, {}});
  thread_row();
  previous_.clear();
  layer_ = kNoLayer;
  recording_ = true;
  stage_begin_ = now();
}

void Profile::end_stage() {
  const double us = now() - stage_begin_;
  recording_ = false;
  stages_[stage_].us.push_back(us);
  if (tracing_) stage_events_.push_back({stage_, stage_begin_, us});
}

size_t Profile::find_layer(const LayerWork& work) {
  std::string name(work.name);
  if (name.empty()) {
    name = previous_ + ">" + std::string(work.kernel);
  } else {
    previous_ = name;
  }
  // Without the channels: an attention's are its keys, which grow from step to step.
  std::string key = std::to_string(stage_) + " " + name + " " + std::string(work.kernel);
  for (const size_t number : {work.height, work.width, work.kernel_size, work.stride, work.out}) {
    (key += " ") += std::to_string(number);
  }
  const auto [at, is_new] = layer_at_.try_emplace(key, layers_.size());
  if (is_new) layers_.push_back({stage_, name, std::string(work.kernel), work, {}, 0, 0});
  return at->second;
}

void Profile::begin(const LayerWork& work) {
  if (!recording_) return;
  layer_ = find_layer(work);
  layers_[layer_].work = work;
  layers_[layer_].macs += work.macs;
  layers_[layer_].bytes += work.bytes;
  layer_begin_ = now();
}

void Profile::end() {
  if (!recording_) return;
  const double us = now() - layer_begin_;
  layers_[layer_].us.push_back(us);
  if (tracing_) layer_events_.push_back({layer_, layer_begin_, us});
  layer_ = kNoLayer;
}

// The thread that begins stages has row 0, the others follow as they come.
size_t Profile::thread_row() {
  thread_local const Profile* owner = nullptr;
  thread_local size_t row = 0;
  if (owner != this) {
    owner = this;
    row = threads_seen_.fetch_add(1) % tasks_.size();
  }
  return row;
}

void Profile::task_begin() {
  if (!tracing_ || !recording_) return;
  tasks_[thread_row()].push_back({layer_, now(), 0});
}

void Profile::task_end() {
  if (!tracing_ || !recording_) return;
  Event& task = tasks_[thread_row()].back();
  task.us = now() - task.begin;
}

// Seconds that these operations take at the machine's peak.
double at_peak(const LayerWork& work, double flops, const Peaks& peaks) {
  if (work.integer_passes == 0) return flops / peaks.flops;
  return work.integer_passes * flops / peaks.integer_ops;
}

ordered_json Profile::layer_report(const Layer& layer, const Peaks& peaks) const {
  const auto calls = static_cast<double>(layer.us.size());
  const double runs = static_cast<double>(std::max<size_t>(stages_[layer.stage].us.size(), 1));
  const double us = median(layer.us);
  const double flops = 2 * layer.macs / calls, bytes = layer.bytes / calls;
  const double rate = flops / us * 1e6;
  return {
      {"stage", stages_[layer.stage].name},
      {"name", layer.name},
      {"kernel", layer.kernel},
      {"height", layer.work.height},
      {"width", layer.work.width},
      {"channels", layer.work.channels},
      {"kernel_size", layer.work.kernel_size},
      {"stride", layer.work.stride},
      {"out", layer.work.out},
      {"calls", calls / runs},
      {"median_us", us},
      {"flops", flops},
      {"bytes", bytes},
      {"gflop_s", rate / 1e9},
      {"gb_s", bytes / us / 1e3},
      {"percent_of_peak", 100 * at_peak(layer.work, flops, peaks) / (us / 1e6)},
      {"bound", at_peak(layer.work, flops, peaks) < bytes / peaks.bytes ? "memory" : "compute"}};
}

ordered_json Profile::stage_report(size_t stage, const Peaks& peaks) const {
  const double us = median(stages_[stage].us);
  const auto runs = static_cast<double>(stages_[stage].us.size());
  double layers_us = 0, flops = 0, best_us = 0;
  for (const Layer& layer : layers_) {
    if (layer.stage != stage) continue;
    layers_us += median(layer.us) * static_cast<double>(layer.us.size()) / runs;
    flops += 2 * layer.macs / runs;
    best_us += at_peak(layer.work, 2 * layer.macs / runs, peaks) * 1e6;
  }
  const double rate = flops / us * 1e6;
  return {{"stage", stages_[stage].name}, {"median_us", us},
          {"layers_us", layers_us},       {"flops", flops},
          {"gflop_s", rate / 1e9},        {"percent_of_peak", 100 * best_us / us}};
}

ordered_json Profile::report(const Peaks& peaks) const {
  ordered_json layers = ordered_json::array(), stages = ordered_json::array();
  for (size_t stage = 0; stage < stages_.size(); ++stage) {
    for (const Layer& layer : layers_) {
      if (layer.stage == stage) layers.push_back(layer_report(layer, peaks));
    }
    stages.push_back(stage_report(stage, peaks));
  }
  return {{"peak_gflop_s", peaks.flops / 1e9},
          {"peak_integer_gop_s", peaks.integer_ops / 1e9},
          {"peak_gb_s", peaks.bytes / 1e9},
          {"layers", std::move(layers)},
          {"stages", std::move(stages)}};
}

ordered_json Profile::chrome_trace() const {
  ordered_json events = ordered_json::array();
  for (size_t row = 0; row < std::min(threads_seen_.load(), tasks_.size()); ++row) {
    const std::string name = row == 0 ? "graph" : "worker " + std::to_string(row);
    events.push_back({{"name", "thread_name"},
                      {"ph", "M"},
                      {"pid", 1},
                      {"tid", row},
                      {"args", {{"name", name}}}});
  }
  for (const Event& event : stage_events_) {
    events.push_back(chrome_event(stages_[event.index].name, "stage", 0, event.begin, event.us));
  }
  for (const Event& event : layer_events_) {
    const Layer& layer = layers_[event.index];
    events.push_back(chrome_event(layer.name, "layer", 0, event.begin, event.us));
    events.back()["args"] = {{"kernel", layer.kernel},
                             {"height", layer.work.height},
                             {"width", layer.work.width},
                             {"channels", layer.work.channels},
                             {"out", layer.work.out}};
  }
  for (size_t row = 0; row < tasks_.size(); ++row) {
    for (const Event& event : tasks_[row]) {
      const std::string name = event.index == kNoLayer ? "other" : layers_[event.index].kernel;
      events.push_back(chrome_event(name, "task", row, event.begin, event.us));
    }
  }
  return {{"traceEvents", std::move(events)}, {"displayTimeUnit", "ms"}};
}

namespace {

void print_layer(const ordered_json& layer) {
  const bool computes = number_of(layer["flops"]) > 0;
  const auto number = [&](const char* key, bool there) {
    return there ? format("%.1f", number_of(layer[key])) : std::string();
  };
  std::cout << format(kRow, ("  " + text_of(layer["name"])).c_str(),
                      text_of(layer["kernel"]).c_str(), shape_text(layer).c_str(),
                      format("%.4g", number_of(layer["calls"])).c_str(),
                      number("median_us", true).c_str(), number("gflop_s", computes).c_str(),
                      number("percent_of_peak", computes).c_str(),
                      number("gb_s", layer["bound"] == "memory").c_str());
}

}  // namespace

void print_profile(const ordered_json& report) {
  std::cout << text_of(report["isa"]) << ", " << report["threads"] << " threads; measured peaks: "
            << format("%.1f GFLOP/s, %.1f integer Gop/s, %.1f GB/s\n",
                      number_of(report["peak_gflop_s"]), number_of(report["peak_integer_gop_s"]),
                      number_of(report["peak_gb_s"]));
  for (const ordered_json& stage : report["stages"]) {
    std::cout << "\n"
              << format(kRow, text_of(stage["stage"]).c_str(), "kernel", "shape", "calls",
                        "median us", "GFLOP/s", "% peak", "GB/s");
    for (const ordered_json& layer : report["layers"]) {
      if (layer["stage"] == stage["stage"]) print_layer(layer);
    }
    std::cout << format("  total %.3f ms, in layers %.3f ms, %.1f GFLOP/s, %.1f %% of peak\n",
                        number_of(stage["median_us"]) / 1e3, number_of(stage["layers_us"]) / 1e3,
                        number_of(stage["gflop_s"]), number_of(stage["percent_of_peak"]));
  }
}

}  // namespace lightcap::internal::bench
