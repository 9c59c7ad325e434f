#include "weights_converter/quantizer/report.h"

#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace lightcap::internal {
namespace {

using nlohmann::ordered_json;

ordered_json decibels(const SignalAndNoise& sums) {
  const std::optional<double> ratio = sums.decibels();
  if (!ratio) return nullptr;
  return std::round(*ratio * 100) / 100;
}

std::string of(size_t part, size_t whole, const char* what) {
  return std::to_string(part) + " of " + std::to_string(whole) + " " + what;
}

}  // namespace

std::string report_json(const SimulationReport& report, const ReportPictures& pictures,
                        const std::string& model) {
  ordered_json layers = ordered_json::array();
  for (const LayerReport& layer : report.layers) {
    layers.push_back({{"name", layer.name},
                      {"alone_db", decibels(layer.alone)},
                      {"all_db", decibels(layer.all)}});
  }
  const ordered_json json = {{"model", model},
                             {"calibration_pictures", pictures.calibration},
                             {"synthetic", pictures.synthetic},
                             {"report_pictures", report.pictures},
                             {"held_out", pictures.held_out},
                             {"features_db", decibels(report.features)},
                             {"boxes", report.boxes},
                             {"boxes_found_again", report.boxes_found},
                             {"concepts_changed", report.concepts_changed},
                             {"captions_changed", report.captions_changed},
                             {"tokens", report.tokens},
                             {"tokens_changed", report.tokens_changed},
                             {"layers", std::move(layers)}};
  return json.dump(1, ' ', true, ordered_json::error_handler_t::replace) + "\n";
}

std::string report_text(const SimulationReport& report, const ReportPictures& pictures) {
  char features[64] = "exact";
  if (const auto ratio = report.features.decibels())
    std::snprintf(features, sizeof features, "%.1f dB", *ratio);
  return std::string("simulated on ") + std::to_string(report.pictures) +
         (report.pictures == 1 ? " picture" : " pictures") +
         (pictures.held_out ? " that were not calibrated on" : " of the calibration") +
         ": image features " + features + ", " +
         of(report.boxes_found, report.boxes, "boxes found again, ") +
         of(report.concepts_changed, report.boxes_found, "concepts, ") +
         of(report.tokens_changed, report.tokens, "tokens and ") +
         of(report.captions_changed, report.pictures, "captions changed");
}

std::string report_warning(const SimulationReport& report) {
  const std::optional<double> ratio = report.features.decibels();
  if (!ratio || *ratio >= kLowestFeatures) return "";
  char text[200];
  std::snprintf(text, sizeof text,
                "the image features keep only %.1f dB of %.0f that a usable model has: calibrate "
                "on pictures like those to caption, or keep the float model",
                *ratio, kLowestFeatures);
  return text;
}

}  // namespace lightcap::internal
