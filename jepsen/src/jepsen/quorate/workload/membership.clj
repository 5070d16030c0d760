(ns jepsen.quorate.workload.membership
  "The register, while the membership nemesis adds, removes and replaces nodes; at the end the members are what was acknowledged."
  (:require [jepsen.generator :as gen]
            [jepsen.quorate.workload.register :as register]))

(defn workload [opts]
  (update (register/workload opts) :final-generator
          (fn [final]
            (gen/phases final
                        (->> (gen/until-ok (gen/repeat {:type :invoke :f :members :value {}}))
                             (gen/on-threads #{0})
                             (gen/time-limit 60))))))
