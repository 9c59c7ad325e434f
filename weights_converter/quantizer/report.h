// The accuracy of an int8 model, as lightcap-quantize tells it.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_QUANTIZER_REPORT_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_QUANTIZER_REPORT_H_

#include <string>

#include "weights_converter/quantizer/simulation.h"

namespace lightcap::internal {

struct ReportPictures {
  size_t calibration = 0;
  bool synthetic = false;
  bool held_out = false;  // those of the report were not calibrated on
};

// Features with a lower ratio, in decibels, can not be trusted.
inline constexpr double kLowestFeatures = 15;

// JSON, indented. Ratios are in decibels, and null where nothing was changed or compared.
std::string report_json(const SimulationReport& report, const ReportPictures& pictures,
                        const std::string& model);
// Lines for people: the model's figures.
std::string report_text(const SimulationReport& report, const ReportPictures& pictures);
// A warning where the features are below kLowestFeatures; empty where they are not.
std::string report_warning(const SimulationReport& report);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_QUANTIZER_REPORT_H_
