(ns jepsen.quorate.workload.failover
  "Regions die, hang, flap and become half-reachable at the nemesis's hand; the clients only write down what the cluster tells of
  its switches and their evidence. The witness sees what is done."
  (:require [jepsen.generator :as gen]
            [jepsen.quorate.world :as world]))

(defn- look-op [_test _context] {:type :invoke :f :switches :value {:service "app"}})
(defn- hash-op [_test _context] {:type :invoke :f :hash :value {}})

(defn- evidence-op
  "The evidence of the epoch that the record has now."
  [test _context]
  {:type :invoke :f :evidence :value {:service "app" :epoch (or (:epoch (world/standing @(:world test) "app")) 1)}})

(defn workload [_opts]
  {:generator (gen/stagger 1/2 (gen/mix [look-op evidence-op hash-op]))
   :final-generator (gen/each-thread [{:type :invoke :f :switches :value {:service "app"}}
                                      {:type :invoke :f :status :value {:service "app"}}])})
