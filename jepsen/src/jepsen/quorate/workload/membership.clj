(ns jepsen.quorate.workload.membership
  "The register under changing members: of five nodes three vote at first; the others are added, promoted, and removed again. A
  number is never used twice, so each node comes and goes once."
  (:require [jepsen.generator :as gen]
            [jepsen.quorate.db :as quorate]
            [jepsen.quorate.workload.register :as register]))

(defn- member-op [change number words]
  {:type :invoke :f :member :value {:change change :node number :words words}})

(defn changes
  "The operations that bring a spare node and take it away again."
  [test node]
  (let [number (quorate/number test node)]
    [(member-op :add number ["add" (quorate/member test node)])
     (gen/sleep 10)
     (member-op :promote number ["promote" (str number)])
     (gen/sleep 20)
     (member-op :remove number ["remove" (str number)])
     (gen/sleep 20)]))

(defn workload [opts]
  (let [{:keys [generator final-generator]} (register/workload opts)
        spares (drop 3 (:nodes opts))]
    {:generator (gen/any generator (gen/on-threads #{0} (mapcat #(changes opts %) spares)))
     :final-generator (gen/phases final-generator (gen/on-threads #{0} {:type :invoke :f :members :value {}}))}))
