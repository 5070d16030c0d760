(ns jepsen.quorate.workload.register
  "Manual switches with an expected epoch as compare-and-set, linearizable reads of the active region."
  (:require [jepsen.generator :as gen]
            [jepsen.random :as rand]))

(defn- newest "The newest epoch that any client has seen." [test] @(:newest test))

(defn- read-op [_test _context] {:type :invoke :f :read :value {:service "reg"}})

(defn- switch-op [test _context]
  (let [epoch (max 1 (- (newest test) (if (zero? (rand/long 10)) 1 0)))]
    {:type :invoke :f :switch :value {:service "reg" :expected epoch :to (rand/nth ["north" "south"])}}))

(defn- look-op [_test _context] {:type :invoke :f :switches :value {:service "reg"}})
(defn- hash-op [_test _context] {:type :invoke :f :hash :value {}})

(defn workload [_opts]
  {:generator (gen/stagger 1/4 (gen/mix [read-op read-op switch-op switch-op look-op hash-op]))
   :final-generator (gen/each-thread [{:type :invoke :f :switches :value {:service "reg"}}
                                      {:type :invoke :f :status :value {:service "reg"}}])})
